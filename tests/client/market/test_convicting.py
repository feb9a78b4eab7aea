"""Rule: evidence bans whom it proves to be a cheat, once, and nobody else; what directories say counts nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sellers import LEDGER

from gpufair.client.wallet import bans
from gpufair.protocol import evidence
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Crime, Envelope, JournalHead, LedgerRef

CLOCK = SystemClock()


@pytest.fixture
def brought(a_seller: Any) -> Any:
    """Evidence that one identity brings against another one, which did sign two records of one sequence."""

    def make(seed: int, **fields: Any) -> Envelope:
        cheat, bringer = a_seller(seed, CLOCK), a_seller(500, CLOCK)
        pair = (cheat.record(5).envelope, cheat.record(5, software="another one").envelope)
        found = evidence.two_broadcasts(bringer.desk.broadcast_head(), *pair)
        return bringer.desk.sign(replace(found, **fields)).envelope

    return make


@pytest.fixture
def stocked(shelf: Any, a_seller: Any) -> Any:
    """A directory with the offers of the sellers 1 and 2."""
    house = shelf()
    for seed in (1, 2):
        seller = a_seller(seed, CLOCK)
        record = seller.record()
        house.offers.append(seller.offer(record).envelope)
        house.records.append(record.envelope)
    return house


def did(a_seller: Any, seed: int) -> str:
    found: str = a_seller(seed, CLOCK).desk.did
    return found


def test_a_cheat_is_banned_by_what_it_signed(
    look: Any, stocked: Any, brought: Any, a_seller: Any, store: RowStore
) -> None:
    stocked.evidence = [brought(1)]
    market = look(stocked)
    assert list(bans.banned(store)) == [did(a_seller, 1)]
    assert "two node records" in bans.banned(store)[did(a_seller, 1)]
    assert any("banned from now on" in trouble.what for trouble in market.troubles)
    assert not any("banned" in trouble.what for trouble in look(stocked).troubles)  # told once


def test_a_ledger_that_signed_two_journals_is_banned_by_whoever_is_offered_it(
    look: Any, stocked: Any, a_seller: Any, store: RowStore
) -> None:
    bank = Desk(KeySigner.from_seed(b"L" * 32), CLOCK, SystemRandom())
    assert bank.did == LEDGER
    one, other = (bank.sign(JournalHead(bank.head(bank.did), 7, bytes([n]) * 32)).envelope for n in (1, 2))
    bringer = a_seller(500, CLOCK).desk
    stocked.evidence = [bringer.sign(evidence.two_heads(bringer.broadcast_head(), one, other)).envelope]
    look(stocked)
    assert LEDGER in stocked.asked
    assert list(bans.banned(store)) == [LEDGER]
    stocked.asked.clear()
    look(stocked)
    assert stocked.asked
    assert LEDGER not in stocked.asked, "what is settled is not asked again"


def test_a_ban_that_the_buyer_lifted_is_not_put_back(
    look: Any, stocked: Any, brought: Any, a_seller: Any, store: RowStore
) -> None:
    stocked.evidence = [brought(1)]
    look(stocked)
    bans.lift(store, did(a_seller, 1))
    look(stocked)
    assert bans.banned(store) == {}


def test_slander_bans_nobody(look: Any, stocked: Any, brought: Any, a_seller: Any, store: RowStore) -> None:
    """Its own crime laid at another's door, another crime, no documents, a signature that is none, an hour too old."""
    good = brought(1)
    stocked.evidence = [
        brought(3, accused=did(a_seller, 1)),
        brought(1, crime=Crime.FALSE_LEAF),
        brought(1, documents=()),
        replace(good, signatures=(replace(good.signatures[0], sig=bytes(64)),)),
        brought(1, head=replace(a_seller(500, CLOCK).desk.broadcast_head(), issued_at_ms=1, expires_at_ms=2)),
    ]
    market = look(stocked)
    assert bans.banned(store) == {}
    assert len(market.offers) == 2
    assert len([trouble for trouble in market.troubles if trouble.what.startswith("evidence")]) == 5


def test_no_more_evidence_is_read_than_is_worth_the_time(
    look: Any, stocked: Any, brought: Any, a_seller: Any, store: RowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpufair.client.market import convicting

    flood = [brought(seed) for seed in range(1000, 1005)]
    monkeypatch.setattr(convicting, "_BYTES_MAX", sum(len(one.payload) for one in flood))
    stocked.evidence = [*flood, brought(1)]
    market = look(stocked)
    assert did(a_seller, 1) not in bans.banned(store)
    assert any("the rest is left" in trouble.what for trouble in market.troubles)


def test_an_address_that_is_nearer_than_its_directory_is_not_taken(
    look: Any, shelf: Any, a_seller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is asked over loopback; what is said of it is that it lies in a private network."""
    from gpufair.client.market import market as module
    from gpufair.protocol.addresses import Reach

    async def far(_endpoint: object) -> Reach:
        return Reach.PRIVATE

    monkeypatch.setattr(module, "reach_of", far)
    house, near, lends, fine = shelf(), a_seller(1, CLOCK), a_seller(2, CLOCK), a_seller(3, CLOCK)
    records = [near.record(), *(one.record(endpoints=("10.0.0.9:7700",)) for one in (lends, fine))]
    here, there = ((LedgerRef(lends.desk.did, address),) for address in ("127.0.0.1:1", "ledger.example:1"))
    house.records = [record.envelope for record in records]
    house.offers = [
        near.offer(records[0], ledgers=there).envelope,
        lends.offer(records[1], ledgers=here).envelope,
        fine.offer(records[2], ledgers=there).envelope,
    ]
    market = look(house)
    assert [offer.issuer for offer in market.offers if market.record(offer)] == [fine.desk.did]
    assert near.desk.did not in market.records
    assert lends.desk.did not in {offer.issuer for offer in market.offers}
    assert sum("this machine" in trouble.what for trouble in market.troubles) >= 2
