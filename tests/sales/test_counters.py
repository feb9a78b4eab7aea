"""A decline names a bid that would pass, whatever was bid and whoever owns; and who gets the last place."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.lifecycle import LIVE, LeaseState
from gpufair.protocol.messages import Bid, BidClass, Decline, ReasonCode
from gpufair.protocol.pricing import LINES, asked, scaled
from gpufair.provider.config import LimitsConfig, PriceConfig, WorkersConfig
from gpufair.provider.jobs.store import LeaseRow

PRICE = PriceConfig(
    per_step_megapixel=60, per_decoded_megapixel=40, per_cold_load=30, per_adapter=20, minimum=10, floor_milli=400,
    notice_seconds=30, notice_discount_milli=250, per_reserved_second=7,
)  # fmt: skip

owners = st.builds(
    lambda floor, notice, discount, reserved, window: {
        "price": replace(
            PRICE, floor_milli=floor, notice_seconds=notice, notice_discount_milli=discount if notice else 0,
            per_reserved_second=7 * reserved,
        ),
        "workers": WorkersConfig(concurrent_jobs=2, reserved_workers=int(reserved)),
        "limits": LimitsConfig(window=window, unsecured=10**6),
    },
    st.integers(1, 1000), st.integers(0, 60), st.integers(0, 1000), st.booleans(), st.integers(1, 2 * 10**6),
)  # fmt: skip
wishes = st.fixed_dictionaries(
    {
        "bid_class": st.sampled_from([BidClass.ON_DEMAND, BidClass.INTERRUPTIBLE, BidClass.RESERVED]),
        "notice_ms": st.integers(0, limits.NOTICE_MAX_MS),
        "cap": st.integers(1, 10**10),
        "window": st.integers(1, 10**7),
        "lasts": st.integers(-limits.HOUR, 2 * limits.LEASE_MAX_MS),
        "per_million": st.integers(0, 2 * 10**6),
    }
)


def wanted(world: Any, wish: dict[str, Any]) -> Signed[Bid]:
    """A bid of any kind at any price."""
    terms = {name: wish[name] for name in ("bid_class", "notice_ms", "cap", "window")}
    sheet = scaled(world.bid().doc.sheet, wish["per_million"])
    return world.bid(sheet=sheet, lease_expires_at_ms=world.now + wish["lasts"], **terms)


def accepted(world: Any, bid: Signed[Bid]) -> bool:
    answer = world.place(bid)
    if isinstance(answer, Signed):
        return False
    world.leases.close(answer, "done", None)
    with world.store.begin() as rows:
        rows.delete(LeaseRow, id=answer)
    return True


@given(owners, wishes, st.integers(0, limits.SUPERSEDED_GRACE_MS), st.integers(0, 12))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bid_with_the_counter_offer_s_terms_is_accepted_as_long_as_that_lives(
    world: Any, owner: dict[str, Any], wish: dict[str, Any], later: int, changes: int
) -> None:
    world.restart(**owner)
    world.warm_models, world.wait_ms = frozenset(), 1234
    bid = wanted(world, wish)
    answer = world.place(bid)
    if not isinstance(answer, Signed):
        with world.store.begin() as rows:
            rows.delete(LeaseRow, id=answer)
        return
    assert answer.doc.reasons
    counter = answer.doc.would_accept
    assert counter is not None, "the gate is open, and there is room"
    assert counter.wait_ms == 1234
    for _ in range(changes):  # offers come and go, as many as may be
        world.now += later // max(1, changes)
        world.warm_models = frozenset() if world.warm_models else frozenset({world.models[0].digest})
        world.offers.current()
    assert world.now <= answer.doc.head.expires_at_ms
    assert accepted(world, world.following(counter))
    # And it is the least: no line can be lower.
    for line in LINES[: -1 if counter.bid_class is not BidClass.RESERVED else None]:
        if getattr(counter.sheet, line) > (line == "per_step_megapixel"):
            lower = replace(counter.sheet, **{line: getattr(counter.sheet, line) - 1})
            assert ReasonCode.PRICE_TOO_LOW in world.reasons(world.following(counter, sheet=lower))
    # It keeps to what was wanted, as far as that is sold.
    offer = world.offers.biddable(counter.offer).doc
    assert counter.bid_class == (wish["bid_class"] if wish["bid_class"] in offer.classes else BidClass.ON_DEMAND)
    assert counter.notice_ms == min(wish["notice_ms"], offer.notice_max_ms)


def test_the_least_is_what_both_sides_compute(world: Any) -> None:
    world.restart(price=PRICE, workers=WorkersConfig(reserved_workers=1))
    offer = world.offers.current()
    cheap = world.bid(bid_class=BidClass.INTERRUPTIBLE, notice_ms=15_000, sheet=scaled(world.bid().doc.sheet, 0))
    answer = world.place(cheap)
    counter = answer.doc.would_accept
    assert counter.sheet == asked(offer.doc, offer.doc.models[0], BidClass.INTERRUPTIBLE, 15_000)
    assert counter.sheet.per_step_megapixel == 21, "60 at 40 % of 87.5 %"
    low = {reason.detail: (reason.wanted, reason.limit) for reason in answer.doc.reasons}
    assert low["per_step_megapixel"] == (1, 21)
    assert low["per_adapter"] == (0, 7)
    assert len(low) == 5, "a line that is lower has its reason, each of them at once"


@pytest.mark.parametrize("closed", ["paused", "draining"])
def test_nothing_is_offered_instead_behind_a_closed_gate(world: Any, closed: str) -> None:
    bid = world.bid(cap=10**12)
    setattr(world.gate, closed, True)
    answer = world.place(bid)
    assert {reason.code for reason in answer.doc.reasons} == {
        ReasonCode.CAP_TOO_HIGH, ReasonCode[closed.upper()],
    }  # fmt: skip
    assert answer.doc.would_accept is None


def test_nothing_is_offered_instead_where_there_is_no_place(world: Any) -> None:
    for _ in range(limits.UNFUNDED_PER_DID_MAX):
        world.place(world.bid())
    assert world.place(world.bid()).doc.would_accept is None
    assert world.place(world.bid(client="other", cap=10**12)).doc.would_accept is not None


def test_what_is_left_for_strangers_bounds_the_window(world: Any) -> None:
    world.restart(limits=LimitsConfig(unsecured=250))
    bid = world.bid(window=100)
    world.place(bid)
    world.fund(bid)
    counter = world.place(world.bid(client="second", window=151)).doc.would_accept
    assert counter.window_max == 150
    second = world.following(counter, client="second")
    assert world.place(second)
    world.fund(second)
    last = world.place(world.bid(client="third", window=1))
    assert {reason.code for reason in last.doc.reasons} == {ReasonCode.UNSECURED_LIMIT}
    assert last.doc.would_accept is None


def test_every_reason_comes_at_once_under_a_superseded_offer_too(world: Any) -> None:
    old = world.offers.current()
    world.models = world.models[:1]
    world.now += 1000
    world.offers.current()
    world.now += limits.SUPERSEDED_GRACE_MS + 1
    answer = world.place(world.bid(old, cap=10**12, window=10**6))
    codes = {reason.code for reason in answer.doc.reasons}
    assert codes == {ReasonCode.OFFER_SUPERSEDED, ReasonCode.CAP_TOO_HIGH, ReasonCode.WINDOW_TOO_LARGE}
    assert answer.doc.would_accept.offer == world.offers.current().id
    assert world.place(world.following(answer.doc.would_accept))


def test_two_clients_at_once_for_the_last_place_one_lease_one_decline(world: Any) -> None:
    """Two threads on one database, as two processes would be: whoever commits second finds the place taken."""
    world.restart(limits=LimitsConfig(unsecured=100))
    offer = world.offers.current()
    bids = [world.bid(offer, client=f"client {number}", window=100) for number in range(6)]
    together, answers = threading.Barrier(len(bids)), dict[int, Any]()

    def buy(number: int) -> None:
        together.wait()
        answer = answers[number] = world.place(bids[number])
        if not isinstance(answer, Signed):
            world.fund(bids[number])

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(len(bids))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.store.read() as rows:
        leases = rows.all(LeaseRow)
    (live,) = [lease for lease in leases if lease.state in LIVE]
    # Whoever was accepted before the other had paid has its hold back at once, whole.
    assert {lease.state for lease in leases if lease is not live} <= {LeaseState.ABANDONED}
    declined = [answer for answer in answers.values() if isinstance(answer, Signed)]
    assert len(declined) + len(leases) == len(bids)
    for answer in declined:
        assert isinstance(answer.doc, Decline)
        (reason,) = answer.doc.reasons
        assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.UNSECURED_LIMIT, 200, 100)
    late = world.reasons(world.bid(client="later", window=100))[ReasonCode.UNSECURED_LIMIT]
    assert (late.wanted, late.limit) == (200, 100)
