"""Bids that are declined, at whole nodes: counter-offers, other providers, and what the buyer is told of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import PRICE, START, World, another_provider

from gpufair.client.config import Manner
from gpufair.client.failures import DeclinedError
from gpufair.client.market import bidding
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.protocol import identity
from gpufair.protocol.messages import ReasonCode
from gpufair.provider.daemon import Node
from gpufair.provider.jobs.capacity import Capacity
from gpufair.provider.sales.ask import FixedAsk

WISH = Wish("a fox")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bidding, "_WAITS_S", (0.1, 1.2))


def dearer(provider: Node, rate: int) -> None:
    """The owner asks more from now on, and the provider has started anew: it knows its old offers no more."""
    assert provider.seller is not None
    offers = provider.seller.offers
    offers._ask = FixedAsk(replace(provider.seller.stock.config.price, per_step_megapixel=rate))
    offers._offers.clear()


def told(w: World) -> list[ev.BidDeclined]:
    return [event for event in w.heard if isinstance(event, ev.BidDeclined)]


def test_a_price_that_rose_is_paid_up_to_the_highest_that_was_named(world: Any) -> None:
    async def story(w: World) -> None:
        plan = await w.buyer.plan(replace(WISH, max_price=50))
        dearer(w.provider, 200)
        bought = await w.buyer.buy(plan, w.heard.append)
        assert PRICE < bought.spent <= 50
        assert {event.provider for event in told(w)} == {w.provider.keys.did}
        codes = {reason.code for event in told(w) for reason in event.reasons}
        assert {ReasonCode.OFFER_UNKNOWN, ReasonCode.PRICE_TOO_LOW} <= codes
        assert told(w)[-1].then.startswith("bidding again: ")
        assert bought.is_settled

    world(story)


def test_without_a_highest_price_what_was_shown_is_the_most(world: Any) -> None:
    async def story(w: World) -> None:
        plan = await w.buyer.plan(WISH)
        dearer(w.provider, 200)
        with pytest.raises(DeclinedError) as caught:
            await w.buyer.buy(plan, w.heard.append)
        assert "our highest is 0.000011 cr" in caught.value.what
        assert caught.value.reasons
        assert told(w)[-1].then.startswith("leaving it: it asks ")

    world(story)


def test_whoever_declines_is_passed_and_the_next_one_gets_the_job(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "other", rate=60) as other:
            plan = await w.buyer.plan(WISH)
            first, second = (w.provider, other)
            if plan.choice.offer.issuer == other.keys.did:
                first, second = second, first
            assert first.seller is not None
            first.seller.gate.paused = True
            bought = await w.buyer.buy(plan, w.heard.append)
            assert bought.last.lease.provider == second.keys.did
            why, then = told(w)
            assert ReasonCode.PAUSED in {reason.code for reason in why.reasons}
            assert then.then.startswith(f"moving on to {identity.short(second.keys.did)}")

    world(story)


def test_nobody_dearer_than_agreed_is_moved_on_to(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "other", rate=600) as other:
            plan = await w.buyer.plan(WISH)
            assert plan.choice.offer.issuer == w.provider.keys.did
            assert w.provider.seller is not None
            w.provider.seller.gate.paused = True
            with pytest.raises(DeclinedError) as caught:
                await w.buyer.buy(plan, w.heard.append)
            assert "paused" in caught.value.what
            assert [event.then for event in told(w)].count("leaving it: it makes no counter-offer") == 3, "and waits"
            dear = replace(plan, wish=replace(plan.wish, max_price=1_000))
            assert (await w.buyer.buy(dear)).last.lease.provider == other.keys.did

    world(story)


def test_who_never_bargains_takes_no_counter_offer(world: Any) -> None:
    async def story(w: World) -> None:
        plan = await w.buyer.plan(replace(WISH, max_price=500, manner=Manner.NEVER))
        dearer(w.provider, 200)
        with pytest.raises(DeclinedError, match="counter-offers are not taken"):
            await w.buyer.buy(plan)

    world(story)


def full(provider: Node) -> None:
    """From now on others pay first: whoever has a lease and pays finds every place taken."""
    assert provider.seller is not None
    leases = provider.seller.jobs.leases
    leases._policy = replace(leases._policy, capacity=Capacity(workers=0, queue=0))


def test_who_pays_second_has_its_money_back_and_goes_to_the_next(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "other", rate=60) as other:
            plan = await w.buyer.plan(WISH)
            first, second = (w.provider, other)
            if plan.choice.offer.issuer == other.keys.did:
                first, second = second, first
            full(first)
            bought = await w.buyer.buy(plan, w.heard.append)
            assert bought.last.lease.provider == second.keys.did
            why, then = told(w)
            (reason,) = why.reasons
            assert "others were first: all workers are busy" in reason.detail
            assert why.then == "leaving it: it gives the hold back"
            assert then.then.startswith(f"moving on to {identity.short(second.keys.did)}")
            await w.buyer.settle_open()
            assert await w.balance() == START - PRICE
            assert (await w.funds(w.buyer.desk.did))[1] == 0, "nothing is held any more"

    world(story)


def test_with_nobody_else_to_go_to_it_is_said_and_nothing_is_spent(world: Any) -> None:
    async def story(w: World) -> None:
        plan = await w.buyer.plan(WISH)
        full(w.provider)
        with pytest.raises(DeclinedError, match="gives the hold back: others were first"):
            await w.buyer.buy(plan)
        await w.buyer.settle_open()
        assert await w.funds(w.buyer.desk.did) == (START, 0)

    world(story)
