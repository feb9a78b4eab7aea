"""The engine's stream format, cut in every way, and refused when it isn't that."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol.errors import PeerError
from gpufair.provider.workers.attach import Demux
from gpufair.provider.workers.channel import LOG_FLOOD, LOG_KEPT, LogTail


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=200))), st.lists(st.integers(1, 300)))
def test_any_cut_gives_the_same_streams(pieces, cuts):
    data = b"".join(bytes([kind, 0, 0, 0]) + len(body).to_bytes(4, "big") + body for kind, body in pieces)
    demux, out, err = Demux(), b"", b""
    for cut in [*cuts, len(data)]:
        head, data = data[:cut], data[cut:]
        more_out, more_err = demux.feed(head)
        out, err = out + more_out, err + more_err
    assert out == b"".join(body for kind, body in pieces if kind == 1)
    assert err == b"".join(body for kind, body in pieces if kind == 2)


@pytest.mark.parametrize("header", [b"\0\0\0\0\0\0\0\1", b"\3\0\0\0\0\0\0\1", b"\1\1\0\0\0\0\0\1", b"HTTP/1.1"])
def test_another_format_is_refused(header):
    with pytest.raises(PeerError):
        Demux().feed(header)


def test_the_log_keeps_its_end_and_tells_a_flood():
    log = LogTail()
    log.add(b"a" * LOG_KEPT + b"the end\x1b[0m\xff")
    assert str(log).endswith("the end\N{REPLACEMENT CHARACTER}[0m\N{REPLACEMENT CHARACTER}")
    assert len(str(log)) <= LOG_KEPT
    log.frame_came()
    log.add(os.urandom(LOG_FLOOD))
    with pytest.raises(PeerError):
        log.add(b"x")
