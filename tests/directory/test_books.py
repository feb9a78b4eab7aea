"""Rule: what a directory counts is what lies in its store, whoever brought what, and so it is after a restart."""

from collections import Counter

import pytest
from circle import Clock, Dice, verify
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufair.protocol import limits
from gpufair.protocol.addresses import Reach
from gpufair.protocol.edge import tls
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import NodeRecord, Role
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import Origin
from gpufair.provider.directory.memory import MemoryDocuments

CERTIFICATE = tls.create().certificate


def record(seed, sequence, clock, *, large):
    desk = Desk(KeySigner.from_seed(bytes([seed]) * 32), clock, Dice(seed))
    words = "x" * 100 if large else "x"
    head = desk.broadcast_head()
    return desk.sign(NodeRecord(head, sequence, (Role.PROVIDER,), (), CERTIFICATE, bytes(32), words)).envelope


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 5), st.sampled_from("abc"), st.integers(0, 400), st.booleans()),
        max_size=40,
    )
)
def test_what_is_counted_is_what_is_there(moves):
    """Whoever brings what, however large, in a house of eight places: rows, bytes and shares are those of the store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "DIRECTORY_RECORDS_MAX", 8)
        clock, store = Clock(), MemoryDocuments()
        directory = Directory(store, clock, verify=verify)
        for seed, sequence, source, wait_s, large in moves:
            clock.now += wait_s * 1000
            directory.take([record(seed, sequence, clock, large=large)], Origin(source, Reach.LOOPBACK))
        directory.prune()
        kept = list(store.all())
        assert directory.rows == len(kept) <= 8
        assert directory.size == sum(held.size for held in kept)
        assert directory.sources() == Counter(held.source for held in kept)
        assert len(directory.tree) == sum(held.size > 0 for held in kept)
        again = Directory(store, clock, verify=verify)
        assert (again.rows, again.size, again.sources()) == (directory.rows, directory.size, directory.sources())
        assert again.tree.digest() == directory.tree.digest()
