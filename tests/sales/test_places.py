"""The last place: whoever pays first has it, everybody else has an honest answer at once, and nobody can sit on it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.lifecycle import LIVE, LeaseState
from gpufair.protocol.messages import Bid, BidClass, Capture, ReasonCode
from gpufair.protocol.pricing import scaled
from gpufair.provider.config import LimitsConfig, WorkersConfig
from gpufair.provider.jobs.store import LeaseRow, OutboxRow, ReservationRow

from .conftest import PRICE, World

SPOT = BidClass.INTERRUPTIBLE


@pytest.fixture
def small(world: World) -> World:
    """One worker, one job that may wait, and bids of both classes."""
    world.restart(price=replace(PRICE, floor_milli=400), limits=LimitsConfig(queue=1))
    return world


def spot(world: World, client: str) -> Signed[Bid]:
    """An interruptible bid at the floor."""
    offer = world.offers.current()
    return world.bid(offer, client=client, bid_class=SPOT, sheet=scaled(world.bid(offer).doc.sheet, 400_000))


def leases(world: World, *states: LeaseState) -> list[LeaseRow]:
    with world.store.read() as rows:
        return rows.all(LeaseRow, state=states)


def pay(world: World, *bids: Signed[Bid]) -> None:
    for bid in bids:
        assert world.place(bid) == bid.id
        world.fund(bid)


def test_many_at_once_for_the_last_place(small: World) -> None:
    """As many threads on one database: each is told at once that it has the place, or that somebody else was first."""
    pay(small, small.bid(client="first"))
    offer = small.offers.current()
    bids = [small.bid(offer, client=f"client {number}") for number in range(6)]
    together, answers = threading.Barrier(len(bids)), dict[int, Any]()

    def buy(number: int) -> None:
        together.wait()
        answer = answers[number] = small.place(bids[number])
        if not isinstance(answer, Signed):
            small.fund(bids[number])

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(len(bids))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(leases(small, *LIVE)) == 2
    lost = leases(small, LeaseState.ABANDONED)
    assert all("others were first: all workers are busy" in lease.closing_reason for lease in lost)
    with small.store.read() as rows:  # and each has its hold back, whole, by a capture of nothing
        orders = {row.lease: from_bytes(row.envelope, Capture).doc for row in rows.all(OutboxRow)}
    assert set(orders) == {lease.id for lease in lost}
    assert all(order.final and not order.voucher for order in orders.values())
    declined = [answer for answer in answers.values() if isinstance(answer, Signed)]
    assert len(declined) + len(lost) + 1 == len(bids)
    for answer in [*declined, small.place(small.bid(client="late"))]:
        assert isinstance(answer, Signed)
        (reason,) = answer.doc.reasons
        assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.QUEUE_FULL, 3, 2)
        assert answer.doc.would_accept is None


def test_bids_that_nobody_pays_keep_nobody_out(small: World) -> None:
    for number in range(20):
        assert small.place(small.bid(client=f"idle {number}"))
    pay(small, small.bid(client="one"), small.bid(client="two"))
    assert len(leases(small, *LIVE)) == 2


def test_who_pays_and_orders_nothing_keeps_its_place_for_half_a_minute(small: World) -> None:
    pay(small, small.bid(client="one"), small.bid(client="two"))
    small.now += limits.FUNDING_TIMEOUT_MS - 1
    assert ReasonCode.QUEUE_FULL in small.reasons(small.bid(client="three"))
    small.now += 1
    pay(small, small.bid(client="three"))


def test_interruptible_bids_keep_nobody_on_demand_out(small: World) -> None:
    pay(small, spot(small, "one"), spot(small, "two"))
    small.wait_ms = 4_000
    answer = small.place(spot(small, "three"))
    assert isinstance(answer, Signed)
    (reason,) = answer.doc.reasons
    assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.QUEUE_FULL, 3, 2)
    counter = answer.doc.would_accept
    assert counter is not None
    assert (counter.bid_class, counter.wait_ms) == (BidClass.ON_DEMAND, 4_000)
    raised = small.following(counter, client="three")
    pay(small, raised, small.bid(client="four"))
    assert ReasonCode.QUEUE_FULL in small.reasons(small.bid(client="five")), "there is an end to that too"


def test_a_bid_for_a_held_worker_is_declined_while_all_are_held(small: World) -> None:
    small.restart(
        price=replace(PRICE, per_reserved_second=7), workers=WorkersConfig(concurrent_jobs=2, reserved_workers=1)
    )
    first = small.bid(client="one", bid_class=BidClass.RESERVED)
    pay(small, first)
    with small.store.begin() as rows:
        now = small.now
        rows.insert(
            ReservationRow(bytes(32), first.id, bytes(16), 7, now, now + 1, now, paid=True, over=False, ended=b"")
        )
    answer = small.place(small.bid(client="two", bid_class=BidClass.RESERVED))
    assert isinstance(answer, Signed)
    (reason,) = answer.doc.reasons
    assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.RESERVED, 2, 1)
    counter = answer.doc.would_accept
    assert counter is not None
    assert counter.bid_class is BidClass.ON_DEMAND
    assert small.place(small.following(counter, client="two"))
