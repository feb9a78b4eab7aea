"""Directories that lie: what they hide can't be helped, what they bend is found, and old prices never come back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gpufair.client.market import market as market_module
from gpufair.client.market.market import Market, gather
from gpufair.client.market.sources import Silence
from gpufair.client.wallet import accusations, bans
from gpufair.protocol import evidence, limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.system import SystemClock
from gpufair.protocol.evidence import Proof
from gpufair.protocol.messages import Crime, Envelope
from gpufair.provider.rpc.server import serve

CLOCK = SystemClock()


def test_honest_offers_are_found_with_their_records(look: Any, shelf: Any, a_seller: Any) -> None:
    house, seller = shelf(), a_seller(1, CLOCK)
    record = seller.record()
    house.offers, house.records = [seller.offer(record).envelope], [record.envelope]
    market = look(house)
    assert [market.record(offer).id for offer in market.offers] == [record.id]
    assert (market.asked, market.troubles) == (1, [])
    [source] = market.sources
    assert (source.did, source.reached, source.offers, source.silence) == (house.seller.desk.did, True, 1, Silence.NONE)


def test_two_directories_make_one_market_and_the_newest_wins(look: Any, shelf: Any, a_seller: Any) -> None:
    old_house, new_house, seller = shelf(98), shelf(99), a_seller(1, CLOCK)
    record = seller.record()
    old, new = seller.offer(record, sequence=5), seller.offer(record, sequence=6)
    old_house.offers, new_house.offers = [old.envelope], [new.envelope]
    old_house.records = new_house.records = [record.envelope]
    assert [offer.id for offer in look(old_house, new_house).offers] == [new.id]
    assert look(new_house, old_house).troubles == [], "a directory that is behind is no liar"


def test_yesterdays_price_never_comes_back(look: Any, shelf: Any, a_seller: Any) -> None:
    house, seller = shelf(), a_seller(1, CLOCK)
    record = seller.record()
    house.records = [record.envelope]
    house.offers = [seller.offer(record, sequence=6).envelope]
    assert len(look(house).offers) == 1
    house.offers = [seller.offer(record, sequence=5).envelope]
    assert look(house).offers == []


def test_two_offers_of_one_sequence_the_first_is_kept(look: Any, shelf: Any, a_seller: Any, a_model: Any) -> None:
    house, seller = shelf(), a_seller(1, CLOCK)
    record = seller.record()
    first, second = seller.offer(record), seller.offer(record, a_model(rate=1))
    house.offers, house.records = [first.envelope, second.envelope], [record.envelope]
    market = look(house)
    assert [offer.id for offer in market.offers] == [first.id]
    assert any("two different ones" in trouble.what for trouble in market.troubles)


def test_who_signed_two_of_one_sequence_is_banned_and_told_of_until_the_ban_is_lifted(
    look: Any, shelf: Any, a_seller: Any, a_model: Any, store: RowStore
) -> None:
    """Two directories show one each: neither lies, the seller does. One alone proves nothing, and stays left out."""
    one_house, other_house, seller, me = shelf(98), shelf(99), a_seller(1, CLOCK), a_seller(2, CLOCK)
    record = seller.record()
    one_house.offers = [seller.offer(record).envelope]
    other_house.offers = [seller.offer(record, a_model(rate=1)).envelope]
    look(one_house)
    assert any("two different ones" in trouble.what for trouble in look(other_house).troubles)
    assert bans.banned(store) == {}, "the first one is not at hand any more"

    market = look(one_house, other_house)
    assert "two offers of the sequence" in bans.banned(store)[seller.desk.did]
    assert sum("banned from now on" in trouble.what for trouble in market.troubles) == 1
    with store.begin() as rows:
        [piece] = accusations.due(rows, me.desk)
        assert (piece.doc.accused, piece.doc.crime) == (seller.desk.did, Crime.TWO_BROADCASTS)
        assert evidence.judge(piece.doc).proof is Proof.PROVED

    bans.lift(store, seller.desk.did)
    look(one_house, other_house)
    assert bans.banned(store) == {}
    with store.read() as rows:
        assert accusations.due(rows, me.desk) == []


@pytest.mark.parametrize("newer", [True, False], ids=["newer", "addressed"])
def test_two_offers_that_may_both_exist_ban_nobody(
    look: Any, shelf: Any, a_seller: Any, a_model: Any, store: RowStore, newer: bool
) -> None:
    house, seller = shelf(), a_seller(1, CLOCK)
    record = seller.record()
    first = seller.offer(record)
    to_one = replace(first.doc.head, audience=("*", a_seller(2).desk.did))
    fields = {"sequence": 2} if newer else {"head": to_one}
    house.offers = [first.envelope, seller.offer(record, a_model(rate=1), **fields).envelope]
    look(house)
    assert bans.banned(store) == {}


@pytest.mark.parametrize("crime", ["bent", "unsigned", "foreign", "expired", "future", "for ever", "addressed"])
def test_what_does_not_prove_itself_is_left_out_with_its_reason(
    look: Any, shelf: Any, a_seller: Any, crime: str
) -> None:
    house, seller = shelf(), a_seller(1, CLOCK)
    record = seller.record()
    signed = seller.offer(record)
    head, envelope = signed.doc.head, signed.envelope
    now = CLOCK.now_ms()

    def again(**times: Any) -> Envelope:
        return seller.desk.sign(replace(signed.doc, head=replace(head, **times))).envelope

    house.offers = [
        {
            "bent": lambda: replace(envelope, payload=envelope.payload.replace(b"worker", b"wOrker")),
            "unsigned": lambda: replace(envelope, signatures=(replace(envelope.signatures[0], sig=bytes(64)),)),
            "foreign": lambda: replace(envelope, signatures=a_seller(2, CLOCK).offer(record).envelope.signatures),
            "expired": lambda: again(issued_at_ms=now - limits.HOUR, expires_at_ms=now - limits.HOUR + 1),
            "future": lambda: again(issued_at_ms=now + limits.HOUR, expires_at_ms=now + limits.HOUR + 1),
            "for ever": lambda: again(expires_at_ms=limits.TIME_MAX_MS),
            "addressed": lambda: again(audience=("*", seller.desk.did)),
        }[crime]()
    ]
    house.records = [record.envelope]
    market = look(house)
    assert market.offers == []
    assert [trouble.what.startswith("offer: ") for trouble in market.troubles] == [True]
    house.offers = [envelope]
    assert [offer.id for offer in look(house).offers] == [signed.id], "a forgery does not use up the sequence"


def test_a_document_of_another_kind_is_a_trouble_not_a_crash(look: Any, shelf: Any, a_seller: Any) -> None:
    house, seller = shelf(), a_seller(1, CLOCK)
    house.offers = [seller.record().envelope]
    market = look(house)
    assert market.offers == []
    assert len(market.troubles) == 1


def test_one_silent_node_does_not_spoil_the_market(shelf: Any, a_seller: Any, store: RowStore) -> None:
    house, seller = shelf(), a_seller(1, CLOCK)
    record = seller.record()
    house.offers, house.records = [seller.offer(record).envelope], [record.envelope]

    async def body() -> Market:
        server = serve(listen="127.0.0.1:0", tls_identity=house.identity, directory=house)
        await server.start()
        try:
            async with Peers(CLOCK) as peers:
                ends = [PeerAddress(Endpoint("127.0.0.1", port)) for port in (server.port, 9)]
                return await gather(peers, ends, CLOCK, store)
        finally:
            await server.stop(0)

    market = asyncio.run(body())
    assert (len(market.offers), market.asked) == (1, 1)
    assert market.troubles[0].source == "127.0.0.1:9"


def test_a_forged_copy_hides_no_good_one(look: Any, shelf: Any, a_seller: Any) -> None:
    """The id is over what was signed, and so the same: the liar is asked first."""
    liar, honest, seller = shelf(96), shelf(97), a_seller(1, CLOCK)
    record = seller.record()
    good = seller.offer(record).envelope
    liar.offers = [replace(good, signatures=(replace(good.signatures[0], sig=bytes(64)),))]
    honest.offers, honest.records = [good], [record.envelope]
    assert [offer.envelope for offer in look(liar, honest).offers] == [good]


def test_of_each_directory_it_is_said_why_it_gives_nothing(
    look: Any, shelf: Any, a_seller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, liar, slow, flooded = shelf(95), shelf(96), shelf(97), shelf(98)
    seller = a_seller(1, CLOCK)
    record = seller.record()
    good = seller.offer(record).envelope
    forged = replace(good, signatures=(replace(good.signatures[0], sig=bytes(64)),))
    head = replace(seller.offer(record).doc.head, issued_at_ms=1, expires_at_ms=2)
    liar.offers, slow.offers = [forged], [seller.offer(record, head=head).envelope]
    flooded.offers, flooded.records = [good, *[a_seller(n, CLOCK).offer(record).envelope for n in (2, 3)]], []
    monkeypatch.setattr(market_module, "_OFFERS_MAX", 2)
    found = look(empty, liar, slow, flooded).sources
    assert [source.silence for source in found] == [Silence.EMPTY, Silence.DISPROVED, Silence.CLOCK, Silence.FLOODED]
    assert [source.offers for source in found] == [0, 0, 0, 2]
    assert all(source.why for source in found)


def test_a_node_that_does_not_answer_is_a_source_without_offers(store: RowStore) -> None:
    async def ask() -> Market:
        async with Peers(CLOCK) as peers:
            return await gather(peers, [PeerAddress(Endpoint("127.0.0.1", 9), "")], CLOCK, store)

    [source] = asyncio.run(ask()).sources
    assert (source.reached, source.silence) == (False, Silence.UNREACHABLE)
    assert "refused" in source.why
