"""The receipt chunk: what goes in comes out, the picture is untouched, and no damage passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.client.pictures import png
from gpufair.protocol.errors import Fault, PeerError


@given(receipt=st.binary(max_size=5_000))
def test_what_goes_in_comes_out_and_the_picture_is_untouched(receipt: bytes) -> None:
    plain = png.SIGNATURE + bytes.fromhex("0000000049454e44ae426082")
    assert png.extract(png.insert(plain, receipt)) == (plain, receipt)


def test_the_chunk_lies_before_the_end_and_viewers_can_read_it(a_png: bytes) -> None:
    marked = png.insert(a_png, b"signed")
    assert marked.startswith(a_png[:-12])
    assert marked.endswith(a_png[-12:])
    assert b"tEXtgpufair-receipt\0c2lnbmVk" in marked


def test_a_second_receipt_is_refused(a_png: bytes) -> None:
    marked = png.insert(a_png, b"one")
    with pytest.raises(PeerError, match="already"):
        png.insert(marked, b"two")
    one = marked[len(a_png) - 12 : -12]
    with pytest.raises(PeerError, match="more than one"):
        png.extract(a_png[:-12] + one + one + a_png[-12:])


def test_a_picture_without_a_receipt_says_so(a_png: bytes) -> None:
    with pytest.raises(PeerError, match="no receipt") as caught:
        png.extract(a_png)
    assert caught.value.fault is Fault.UNKNOWN


def test_every_flipped_bit_and_every_cut_is_noticed_or_changes_what_is_extracted(a_png: bytes) -> None:
    marked = png.insert(a_png, b"the receipt")
    whole = png.extract(marked)
    for at in range(len(marked) * 8):
        bent = bytearray(marked)
        bent[at // 8] ^= 1 << at % 8
        with pytest.raises(PeerError):
            png.extract(bytes(bent))
    for cut in range(len(marked)):
        with pytest.raises(PeerError):
            png.extract(marked[:cut])
    with pytest.raises(PeerError):
        png.extract(marked + b"\0")
    assert whole == (a_png, b"the receipt")


@given(noise=st.binary(max_size=300))
def test_noise_is_a_typed_refusal(noise: bytes) -> None:
    for data in (noise, png.SIGNATURE + noise):
        with pytest.raises(PeerError):
            png.extract(data)
        with pytest.raises(PeerError):
            png.insert(data, b"receipt")


def test_a_chunk_that_claims_too_much_is_refused() -> None:
    with pytest.raises(PeerError):
        png.extract(png.SIGNATURE + b"\xff\xff\xff\xfftEXt" + bytes(100))
