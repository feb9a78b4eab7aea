"""Filters and strategies between a market and a wish: who is left out is told by what, and what would let it in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpufair.client.config import Config, Manner, parse
from gpufair.client.failures import NoOfferError
from gpufair.client.market.choosing import choose
from gpufair.client.market.nearest import Change, nearest
from gpufair.client.market.plan import check_price
from gpufair.client.market.searching import search
from gpufair.client.market.stake import Stake
from gpufair.client.market.wish import Wish
from gpufair.client.wishing import wish
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import BidClass, Gpu, Isolation, Reason, ReasonCode, Speed
from gpufair.protocol.search.filters import EVERY, Filter, Search
from gpufair.protocol.search.strategies import BALANCED, CHEAPEST, FASTEST, Strategy

WISH = Wish("a fox", width=64, height=64, steps=20, guidance_milli=2_500)
GPU = (Gpu("NVIDIA GeForce RTX 4090", 24 * 2**30, 1),)


@pytest.fixture
def three(a_market: Any) -> Any:
    """Three sellers: cheap and slow in the US, middling in the EU, dear and fast with a GPU in the EU."""

    def make() -> Any:
        market = a_market(60, 120, 900)
        traits = (
            {"region": "us-west", "queue_ms": 60_000},
            {"region": "eu-north", "isolation": Isolation.CONTAINER},
            {"region": "eu-west", "gpus": GPU, "isolation": Isolation.GVISOR},
        )
        for place, (offer, speed_us) in enumerate(zip(market.offers, (900_000, 400_000, 9_000), strict=True)):
            model = replace(offer.doc.models[0], speed=Speed(speed_us, 0, 0))
            market.offers[place] = replace(offer, doc=replace(offer.doc, models=(model,), **traits[place]))
        return market

    return make


@pytest.mark.parametrize(
    ("strategy", "order"),
    [(CHEAPEST, [0, 1, 2]), (FASTEST, [2, 1, 0]), (BALANCED, [2, 1, 0]), (Strategy(price=9, speed=1), [1, 0, 2])],
)
def test_a_strategy_puts_the_offers_in_order(three: Any, strategy: Strategy, order: list[int]) -> None:
    market = three()
    choices = choose(market, WISH, strategy=strategy)
    assert [market.offers.index(choice.offer) for choice in choices.good] == order
    assert choices.strategy == strategy
    assert choices.cheapest == 11


def test_the_highest_price_is_held_against_the_cheapest_whatever_comes_first(three: Any) -> None:
    choices = choose(three(), WISH, strategy=FASTEST)
    [left] = check_price(choices, WISH, Config(max_price=11))
    assert left.candidate.quote.total == 11


def test_filters_leave_out_with_a_reason_each_and_count(three: Any) -> None:
    market = three()
    where = Search(region="EU", isolation=Isolation.GVISOR)
    choices = choose(market, replace(WISH, where=where))
    assert [choice.offer for choice in choices.good] == [market.offers[2]]
    why = {did: [reason.detail for reason in reasons] for did, reasons in choices.dropped}
    assert why[market.offers[0].issuer] == ["isolation: gvisor wanted, here none", "region: eu wanted, here us-west"]
    assert why[market.offers[1].issuer] == ["isolation: gvisor wanted, here container"]
    assert {reason.code for _, reasons in choices.dropped for reason in reasons} == {ReasonCode.FILTERED}
    assert [(one.filter, one.alone, one.left) for one in choices.counts] == [
        (Filter.MODEL, 3, 3), (Filter.TASK, 3, 3), (Filter.ISOLATION, 1, 1), (Filter.REGION, 2, 1),
    ]  # fmt: skip


def test_what_would_help_most_is_said_where_nothing_matches(three: Any) -> None:
    with pytest.raises(NoOfferError) as caught:
        choose(three(), replace(WISH, where=Search(region="us", gpu="4090")))
    assert "3 looked at, 3 filtered" in caught.value.what
    assert "closest: without --gpu: 1 offer from 0.000011 cr; without --region: 1 offer from" in caught.value.hint
    with pytest.raises(NoOfferError) as caught:
        choose(three(), replace(WISH, where=Search(region="mars", gpu="h100")))
    assert "change what is asked for" in caught.value.hint


def test_the_job_itself_may_be_what_to_change(three: Any) -> None:
    for change, words in (
        ({"width": 2048, "height": 2048}, "closest: --size 1024x1024: 3 offers from"),
        ({"steps": 400}, "closest: --steps 100: 3 offers from"),
        ({"count": 64}, "closest: --count 16: 3 offers from"),
    ):
        with pytest.raises(NoOfferError) as caught:
            choose(three(), replace(WISH, **change))
        assert caught.value.hint.startswith(words)


def test_changes_are_ordered_by_what_they_bring(three: Any) -> None:
    market, [spec, *_] = three(), WISH.specs(three().offers[0].doc.models[0])
    late, small = Reason(ReasonCode.STEPS_TOO_MANY, 20, 10, "steps"), Reason(ReasonCode.DRAINING)
    one, two, three_ = market.offers
    assert nearest([(one, (small,)), (two, (late, small))], spec) == (), "neither is one change away"
    found = nearest([(one, (late,)), (two, (late,)), (three_, (Reason(ReasonCode.PRECISION_NOT_OFFERED),))], spec)
    assert found == (Change("--steps 10", 2, 10), Change("another --precision", 1, found[1].price))
    assert found[1].price > 100


def test_the_config_names_a_strategy_and_a_wrong_one_is_refused() -> None:
    assert parse(b'strategy = "fastest"', "config").strategy == FASTEST
    assert parse(b'strategy = "speed=3"', "config").strategy == Strategy(0, 3)
    with pytest.raises(LocalError, match="strategy in config"):
        parse(b'strategy = "best"', "config")


def test_filters_in_plain_values_and_what_cannot_be_meant() -> None:
    made = wish("a fox", gpu="RTX 4090", region="eu", isolation="gvisor", strategy="balanced", memory_bytes=2**34)
    assert made.where == Search(gpu="RTX 4090", region="eu", isolation=Isolation.GVISOR, memory_bytes=2**34)
    assert made.strategy == BALANCED
    assert wish("a fox").where == EVERY
    for wrong in (
        {"gpu": "?!"}, {"region": "--"}, {"isolation": "glass"}, {"isolation": "unspecified"}, {"profile": "12"},
        {"profile": "x"}, {"ledger": "bank"}, {"memory_bytes": -1}, {"memory_bytes": "24"}, {"strategy": "best"},
    ):  # fmt: skip
        with pytest.raises(LocalError):
            wish("a fox", **wrong)


def test_how_a_job_is_served_in_plain_values_and_what_cannot_be_meant() -> None:
    made = wish("a fox", bid_class="interruptible", notice_ms=5_000, bid_milli=800, bargain="firm")
    assert made.stake == Stake(BidClass.INTERRUPTIBLE, 5_000, 800)
    assert made.manner is Manner.FIRM
    assert made.stake.words() == "interruptible, 80 % of the ask, 5 s notice"
    assert wish("a fox").stake.words() == ""
    for wrong in (
        {"bid_class": "first"}, {"notice_ms": 60_001}, {"notice_ms": -1}, {"bid_milli": 10_001}, {"bid_rate": -1},
        {"bid_milli": 800, "bid_rate": 50}, {"bargain": "hard"}, {"bid_milli": "80"},
    ):  # fmt: skip
        with pytest.raises(LocalError):
            wish("a fox", **wrong)


def test_an_offer_must_sell_the_class_and_give_the_notice(three: Any) -> None:
    market = three()
    spot = replace(market.offers[1].doc, classes=(BidClass.ON_DEMAND, BidClass.INTERRUPTIBLE), floor_milli=500)
    market.offers[1] = replace(market.offers[1], doc=spot)
    [found] = choose(market, replace(WISH, stake=Stake(BidClass.INTERRUPTIBLE))).good
    whole = next(one for one in choose(market, WISH).good if one.offer == found.offer)
    assert found.candidate.quote.total < whole.candidate.quote.total
    with pytest.raises(NoOfferError) as caught:
        choose(market, replace(WISH, stake=Stake(notice_ms=10_000)))
    assert {reason.code for reason in caught.value.reasons} == {ReasonCode.NOTICE_NOT_OFFERED}
    assert "closest: --notice 0: 3 offers from" in caught.value.hint


def test_a_market_is_searched_before_there_is_a_job(three: Any) -> None:
    market = three()
    result = search(market, Search(region="eu"), FASTEST)
    assert [market.offers.index(offer) for offer in result.offers] == [2, 1]
    assert result.found.matches == 2
    assert [did for did, _ in result.unused] == [market.offers[0].issuer]
    assert search(market, Search(region="mars")).found.changes[0].matches == 3
    assert len(search(market, EVERY, limit=1).offers) == 1


def test_a_search_names_who_is_banned_and_looks_at_nobody_of_them(three: Any) -> None:
    market = three()
    shut = market.offers[0].issuer
    found = search(market, Search(), bans={shut: "it was rude", "did:key:z6MkElsewhere": "it sells nothing here"})
    assert found.banned == ((shut, "it was rude"),)
    assert [offer.issuer for offer in found.offers] == [offer.issuer for offer in market.offers[1:]]
    assert found.found.known == 2
