"""Buyer and seller come to terms: the seller's own admission answers, the buyer's own bargaining replies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufair.client.config import Manner
from gpufair.client.market.bargain import Bounds, Leave, price, reply
from gpufair.client.market.leases import Terms
from gpufair.client.market.stake import USUAL, Stake
from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.messages import BidClass, Precision, PriceSheet, Scheduler, Spec, Task
from gpufair.protocol.pricing import LINES, smallest_window
from gpufair.provider.config import LimitsConfig, PriceConfig, WorkersConfig
from gpufair.provider.jobs.store import LeaseRow

PRICE = PriceConfig(
    per_step_megapixel=60, per_decoded_megapixel=40, per_cold_load=30, per_adapter=20, minimum=10, floor_milli=400,
    notice_seconds=30, notice_discount_milli=250,
)  # fmt: skip
WIDE = Bounds(price_max=10**9, wait_max_ms=limits.HOUR, lasts_min_ms=limits.MINUTE)


def job(world: Any) -> Spec:
    model = world.models[0].digest
    return Spec(Task.TEXT_TO_IMAGE, model, Scheduler.DDIM, Precision.EXACT, 512, 512, 20, 1, guided=True)


def opening(world: Any, stake: Stake = USUAL, **changes: Any) -> Terms:
    """A first bid as a buyer makes it."""
    offer = world.offers.current().doc
    sheet = stake.sheet(offer, offer.models[0])
    terms = Terms(
        1, 400, world.bid().doc.ledger, notice_ms=stake.notice_ms, bid_class=stake.bid_class, sheet=sheet,
    )  # fmt: skip
    return replace(terms, **{"cap": price(job(world), terms), **changes})


def bargain(world: Any, terms: Terms, bounds: Bounds = WIDE) -> tuple[Terms | Leave, int]:
    """What the two come to, and after how many counter-offers; every answer is the seller's own."""
    parent = world.offers.current()
    for rounds in range(limits.COUNTERS_MAX + 1):
        sheet = terms.sheet
        assert sheet is not None
        bid = world.bid(
            parent, sheet=sheet, bid_class=terms.bid_class, cap=terms.cap, window=terms.window,
            notice_ms=terms.notice_ms, lease_expires_at_ms=world.now + terms.lasts_ms,
        )  # fmt: skip
        answer = world.place(bid)
        if not isinstance(answer, Signed):
            with world.store.begin() as rows:
                rows.delete(LeaseRow, id=answer)
            return terms, rounds
        counter, newest = answer.doc.would_accept, world.offers.current()
        found = reply(
            job(world), terms, answer.doc.reasons, counter, bounds, rounds=rounds, renewed=newest.id != parent.id
        )
        if isinstance(found, Leave):
            return found, rounds
        terms, parent = found, newest
    raise AssertionError("it goes on for ever")


def test_what_the_offer_asks_is_accepted_at_once(world: Any) -> None:
    world.restart(price=PRICE)
    for stake in (
        Stake(), Stake(BidClass.INTERRUPTIBLE), Stake(notice_ms=15_000), Stake(share_milli=1_500),
        Stake(BidClass.INTERRUPTIBLE, share_milli=10), Stake(BidClass.INTERRUPTIBLE, 5_000, rate=50),
    ):  # fmt: skip
        terms = opening(world, stake)
        assert bargain(world, terms) == (terms, 0), stake


def test_a_share_is_of_the_ask_and_never_below_what_the_class_is_asked(world: Any) -> None:
    world.restart(price=replace(PRICE, notice_discount_milli=0))
    offer = world.offers.current().doc
    model = offer.models[0]

    def step(**stake: Any) -> int:
        return Stake(BidClass.INTERRUPTIBLE, **stake).sheet(offer, model).per_step_megapixel

    assert (step(), step(share_milli=800), step(share_milli=100), step(rate=30), step(rate=600)) == (
        24,
        48,
        24,
        30,
        600,
    )
    assert Stake(share_milli=500).sheet(offer, model) == Stake().sheet(offer, model), "on demand pays the ask"
    assert step(share_milli=10_000) == 600


def test_a_price_that_rose_is_paid_within_the_highest_and_not_beyond(world: Any) -> None:
    world.restart(price=PRICE)
    terms = opening(world)
    world.restart(price=replace(PRICE, per_step_megapixel=70))
    before, [after, rounds] = price(job(world), terms), bargain(world, terms)
    assert isinstance(after, Terms)
    assert (rounds, price(job(world), after)) == (1, after.cap)
    assert after.cap > before
    left, _ = bargain(world, terms, replace(WIDE, price_max=after.cap - 1))
    assert isinstance(left, Leave)
    assert "our highest is" in left.why
    for manner in (Manner.FIRM, Manner.NEVER):
        left, _ = bargain(world, terms, replace(WIDE, manner=manner))
        assert isinstance(left, Leave), manner


def test_caps_windows_and_times_are_adapted_and_not_below_what_the_job_needs(world: Any) -> None:
    least = smallest_window(job(world), opening(world).sheet)
    world.restart(limits=LimitsConfig(window=least, cap=5_000, lease_minutes=3))
    terms = opening(world, window=10**6, cap=10**7, lasts_ms=limits.HOUR)
    agreed, rounds = bargain(world, terms)
    assert isinstance(agreed, Terms)
    assert rounds == 1
    assert (agreed.window, agreed.cap, agreed.lasts_ms) == (least, 5_000, 3 * limits.MINUTE)
    left, _ = bargain(world, terms, replace(WIDE, lasts_min_ms=4 * limits.MINUTE))
    assert isinstance(left, Leave)
    assert "lasts 180 s at most" in left.why
    world.restart(limits=LimitsConfig(window=least - 1, cap=5_000))
    left, _ = bargain(world, terms)
    assert isinstance(left, Leave)
    assert "below the" in left.why


def test_another_class_or_less_notice_is_not_what_was_wanted(world: Any) -> None:
    world.restart(price=PRICE)
    spot, warned = opening(world, Stake(BidClass.INTERRUPTIBLE)), opening(world, Stake(notice_ms=30_000))
    world.restart(price=replace(PRICE, floor_milli=1_000, notice_seconds=10))
    for terms, words in ((spot, "sells on_demand only"), (warned, "gives 10 s notice at most")):
        left, _ = bargain(world, terms)
        assert isinstance(left, Leave)
        assert words in left.why


def test_whoever_would_wait_too_long_goes_elsewhere(world: Any) -> None:
    terms = opening(world, window=10**9)
    world.wait_ms = 60_000
    left, _ = bargain(world, terms, replace(WIDE, wait_max_ms=59_000))
    assert isinstance(left, Leave)
    assert "wait 60 s" in left.why


def test_a_closed_gate_is_left_for_now(world: Any) -> None:
    terms = opening(world)
    world.gate.paused = True
    assert bargain(world, terms) == (Leave("it makes no counter-offer", for_now=True), 0)
    world.gate.draining = True
    assert bargain(world, terms) == (Leave("it makes no counter-offer"), 0)


def test_the_same_counter_offer_is_not_taken_twice(world: Any) -> None:
    terms = opening(world, window=10**9)
    counter = world.place(world.bid(window=10**9)).doc.would_accept
    taken = reply(job(world), terms, (), counter, WIDE, rounds=0)
    assert isinstance(taken, Terms)
    again = reply(job(world), taken, (), counter, WIDE, rounds=1)
    assert again == Leave("it offers what it has just declined")
    assert reply(job(world), taken, (), counter, WIDE, rounds=1, renewed=True) == taken
    enough = reply(job(world), terms, (), counter, WIDE, rounds=limits.COUNTERS_MAX)
    assert enough == Leave("4 counter-offers are enough")


owners = st.builds(
    lambda step, floor, notice, discount, window, cap, minutes: {
        "price": replace(
            PRICE, per_step_megapixel=step, floor_milli=floor, notice_seconds=notice,
            notice_discount_milli=discount if notice else 0,
        ),
        "limits": LimitsConfig(window=window, unsecured=10**6, cap=cap, lease_minutes=minutes),
        "workers": WorkersConfig(concurrent_jobs=2),
    },
    st.integers(1, 200), st.integers(1, 1_000), st.integers(0, 60), st.integers(0, 1_000), st.integers(1, 5_000),
    st.integers(1, 5_000), st.integers(1, 240),
)  # fmt: skip
stakes = st.builds(
    Stake, st.sampled_from([BidClass.ON_DEMAND, BidClass.INTERRUPTIBLE]), st.sampled_from([0, 10_000, 60_000]),
    st.sampled_from([0, 500, 2_000]),
)  # fmt: skip
bounds = st.builds(
    Bounds, st.integers(0, 5_000), st.just(limits.HOUR), st.sampled_from([0, limits.HOUR]), st.sampled_from(Manner)
)


@given(owners, owners, stakes, bounds)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_owner_changes_the_buyers_bounds_hold(
    world: Any, before: Any, after: Any, stake: Stake, wide: Bounds
) -> None:
    world.restart(**before)
    first = opening(world, stake)
    world.restart(**after)
    agreed, rounds = bargain(world, first, wide)
    assert rounds <= 1, "a counter-offer that is taken meets no objection"
    if isinstance(agreed, Terms) and rounds:
        assert price(job(world), agreed) <= min(wide.price_max, agreed.cap)
        assert agreed.bid_class is stake.bid_class
        assert agreed.notice_ms >= stake.notice_ms
        assert agreed.lasts_ms >= wide.lasts_min_ms
        assert isinstance(agreed.sheet, PriceSheet)
        assert all(getattr(agreed.sheet, line) >= 0 for line in LINES)


@pytest.mark.parametrize("rate", [1, 10**12])
def test_a_bid_stays_within_what_a_sheet_may_hold(world: Any, rate: int) -> None:
    offer = world.offers.current().doc
    dear = replace(offer.models[0].sheet, per_step_megapixel=limits.RATE_MAX)
    sheet = Stake(rate=rate, share_milli=0).sheet(offer, replace(offer.models[0], sheet=dear))
    assert sheet.per_step_megapixel == limits.RATE_MAX
