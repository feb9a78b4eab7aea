"""Whom the wallet doesn't buy from, and what its jobs committed to."""

from __future__ import annotations

import pytest

from gpufair.client.wallet import bans
from gpufair.client.wallet.store import open_wallet
from gpufair.protocol.errors import LocalError

MALLORY, TRUDY = "did:key:z6Mkmallory", "did:key:z6Mktrudy"


def test_a_ban_stays_with_its_first_reason_until_it_is_lifted() -> None:
    store = open_wallet(None)
    with store.begin() as rows:
        bans.ban(rows, MALLORY, "a step was not done", 5)
        bans.ban(rows, MALLORY, "and another", 6)
        bans.ban(rows, TRUDY, "x" * 9_000, 7)
    assert list(bans.banned(store)) == [MALLORY, TRUDY]
    assert bans.banned(store)[MALLORY] == "a step was not done"
    assert len(bans.banned(store)[TRUDY]) < 1_000
    assert bans.lift(store, "mallory").did == MALLORY
    assert [ban.did for ban in bans.listed(store)] == [TRUDY]
    store.close()


def test_evidence_bans_once_and_never_whom_the_buyer_let_in_again() -> None:
    store = open_wallet(None)
    with store.begin() as rows:
        assert bans.convict(rows, MALLORY, "two records", 5)
        assert not bans.convict(rows, MALLORY, "two records", 6)
        bans.ban(rows, TRUDY, "its key opened noise", 7)
    for did in (MALLORY, TRUDY):
        bans.lift(store, did)
    with store.begin() as rows:
        assert not bans.convict(rows, MALLORY, "two records", 8)
        assert not bans.convict(rows, TRUDY, "what we told of it comes back", 8)
        bans.ban(rows, TRUDY, "its key opened noise again", 9)
    assert list(bans.banned(store)) == [TRUDY]
    store.close()


@pytest.mark.parametrize("wanted", ["", "nobody", "y"])
def test_lifting_names_exactly_one(wanted: str) -> None:
    store = open_wallet(None)
    with store.begin() as rows:
        bans.ban(rows, MALLORY, "a", 5)
        bans.ban(rows, TRUDY, "b", 7)
    with pytest.raises(LocalError):
        bans.lift(store, wanted)
    assert len(bans.listed(store)) == 2
    store.close()
