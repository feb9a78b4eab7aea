"""Workers that are held: paid for first, kept from others, and what is not held goes back against what is due next."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import MODEL, PICTURE, SHEET, Scripted, World

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed, read
from gpufair.protocol.errors import PeerError
from gpufair.protocol.lifecycle import AttemptState, LeaseState
from gpufair.protocol.messages import (
    Answer,
    Bid,
    BidClass,
    Decline,
    Document,
    Envelope,
    Lock,
    Reason,
    ReasonCode,
    Reserve,
    Reserved,
    ReserveEnded,
)
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.effects import Send
from gpufair.provider.jobs.lookup import find
from gpufair.provider.jobs.store import ReservationRow

RATE = 7
"""What a held second costs."""
SECONDS = 20
COSTS = RATE * SECONDS


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def make(tmp_path: Path, *, size: int = 2, held: int = 1, **terms: Any) -> World:
    return World(tmp_path / "jobs.db", workers=Scripted(size=size), held_workers=held, **terms)


def lease(world: World, **terms: Any) -> Signed[Bid]:
    return world.lease(**{"bid_class": BidClass.RESERVED, "per_second": RATE, **terms})


def order(world: World, bid: Signed[Bid], seconds: int = SECONDS) -> Envelope:
    head = world.client.head(world.desk.did, parent=bid.id)
    return world.client.sign(Reserve(head, bid.id, seconds * limits.SECOND)).envelope


def say(world: World, bid: Signed[Bid], document: Envelope) -> list[Signed[Document]]:
    """What is answered; all that follows is carried out."""
    effects = world.office.order(bid.id, document)
    world.office.perform(effects)
    return answers(effects)


def answers(effects: list[Any]) -> list[Signed[Document]]:
    kinds = {kind.TYPE: kind for kind in (Reserved, ReserveEnded, Decline)}
    told = [e.message.envelope for e in effects if isinstance(e, Send) and isinstance(e.message, Answer)]
    return [read(envelope, kinds[envelope.payload_type]) for envelope in told]


def due(world: World, bid: Signed[Bid]) -> tuple[int, int]:
    """What is due before any work, and what everything can cost."""
    with world.store.read() as rows:
        account = Account.load(rows, find(rows, bid.id))
        return account.upfront_due, account.committed(rows)


def reasons(document: Signed[Document]) -> dict[ReasonCode, Reason]:
    assert isinstance(document.doc, Decline), document.doc
    return {reason.code: reason for reason in document.doc.reasons}


def test_a_worker_is_held_from_the_payment_until_its_time_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world)
        (answer,) = say(world, bid, order(world, bid))
        assert isinstance(answer.doc, Reserved)
        assert (answer.doc.from_ms, answer.doc.until_ms) == (world.now, world.now + SECONDS * limits.SECOND)
        assert answer.doc.amount == COSTS
        assert world.workers.held == {}, "it is not paid"
        assert due(world, bid) == (0, COSTS)
        world.pay(bid, COSTS - 1)
        assert world.workers.held == {}
        world.pay(bid, COSTS)
        assert world.workers.held == {bid.id: MODEL}
        assert due(world, bid) == (COSTS, COSTS)
        world.now = answer.doc.until_ms - 1
        assert world.office.reservations.tick() == []
        world.now += 1
        world.office.perform(world.office.reservations.tick())
        assert world.workers.held == {}
        assert due(world, bid) == (COSTS, COSTS)

    play(story())


def test_its_jobs_start_at_once_and_others_wait(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world)
        say(world, bid, order(world, bid))
        world.pay(bid, COSTS)
        others = [world.begin(world.lease()) for _ in range(2)]
        await world.until(lambda: world.workers.started == others[:1])
        assert world.office.runner.waiting == 1, "the other worker is held"
        own = world.begin(bid)
        await world.until(lambda: world.workers.started == [others[0], own])
        assert world.workers.holders[1] == bid.id
        world.workers.gate.set()
        await world.until(lambda: not world.office.busy())
        assert [world.state(one) for one in (*others, own)] == [AttemptState.DELIVERED] * 3

    play(story())


def test_a_full_queue_keeps_its_jobs_out_no_more_than_others_workers_do(tmp_path: Path) -> None:
    async def story() -> None:
        seen = list[int]()
        world = make(tmp_path, size=1, admission=lambda _header, waiting: seen.append(waiting) or ())
        bid = lease(world)
        say(world, bid, order(world, bid))
        world.pay(bid, COSTS)
        for _ in range(3):
            world.begin(world.lease())
        world.begin(bid)
        world.begin(bid)
        world.begin(world.lease())
        assert seen == [0, 1, 2, 0, 0, 4], "its first went to its worker at once, and the others' queue is not its own"
        await world.office.stop(settle=False)

    play(story())


def test_when_it_is_over_others_get_the_worker(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path, size=1)
        bid = lease(world)
        say(world, bid, order(world, bid))
        world.pay(bid, COSTS)
        waiting = world.begin(world.lease())
        assert world.office.runner.waiting == 1
        world.now += SECONDS * limits.SECOND
        world.office.perform(world.office.reservations.tick())
        await world.until(lambda: world.workers.started == [waiting])
        await world.office.stop(settle=False)

    play(story())


def test_one_order_goes_on_where_the_last_one_ends(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world)
        (first,) = say(world, bid, order(world, bid))
        assert set(reasons(say(world, bid, order(world, bid))[0])) == {ReasonCode.UNPAID}
        world.pay(bid, COSTS)
        (second,) = say(world, bid, order(world, bid, 1))
        assert isinstance(first.doc, Reserved)
        assert isinstance(second.doc, Reserved)
        assert second.doc.from_ms == first.doc.until_ms
        world.pay(bid, COSTS + RATE)
        world.now = first.doc.until_ms
        world.office.perform(world.office.reservations.tick())
        assert world.workers.held == {bid.id: MODEL}
        world.now = second.doc.until_ms
        world.office.perform(world.office.reservations.tick())
        assert world.workers.held == {}
        assert due(world, bid) == (COSTS + RATE, COSTS + RATE)

    play(story())


def test_the_same_order_has_one_answer_and_one_effect(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world)
        document = order(world, bid)
        (first,) = say(world, bid, document)
        assert [again.id for again in say(world, bid, document)] == [first.id]
        world.pay(bid, COSTS)
        world.office.perform(world.office.reservations.end_all(Reason(ReasonCode.RECLAIMED)))
        again = say(world, bid, document)
        assert [type(one.doc) for one in again] == [Reserved, ReserveEnded]
        assert due(world, bid) == (0, 0)

    play(story())


def test_whoever_is_cut_off_asks_again_as_long_as_it_is_held(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world, window=600 * RATE, cap=600 * RATE)
        document = order(world, bid, 600)
        (first,) = say(world, bid, document)
        world.pay(bid, 600 * RATE)
        world.now += 590 * limits.SECOND
        world.office.forget()
        assert [again.id for again in say(world, bid, document)] == [first.id], "its own time was over long ago"

    play(story())


def test_what_the_provider_ends_early_goes_back_against_what_is_due_next(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        world.workers.gate.set()
        bid = lease(world)
        (reserved,) = say(world, bid, order(world, bid))
        world.pay(bid, COSTS)
        world.now += 4_001
        effects = world.office.reservations.end_all(Reason(ReasonCode.RECLAIMED))
        world.office.perform(effects)
        (ended,) = answers(effects)
        assert isinstance(ended.doc, ReserveEnded)
        assert (ended.doc.at_ms, ended.doc.credit) == (world.now, COSTS - 5 * RATE), "the fifth second has begun"
        assert ended.doc.head.parent == reserved.doc.head.parent
        assert world.workers.held == {}
        assert due(world, bid) == (5 * RATE, 5 * RATE)
        # What came back pays for seconds again.
        say(world, bid, order(world, bid, SECONDS - 5))
        assert world.workers.held == {bid.id: MODEL}
        assert due(world, bid) == (COSTS, COSTS)

    play(story())


def test_unpaid_it_lapses(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid, other = lease(world), lease(world)
        say(world, bid, order(world, bid))
        assert set(reasons(say(world, other, order(world, other))[0])) == {ReasonCode.RESERVED}
        world.now += limits.WINDOW_TIMEOUT_MS
        effects = world.office.reservations.tick()
        (ended,) = answers(effects)
        assert isinstance(ended.doc, ReserveEnded)
        assert (ended.doc.credit, ended.doc.reasons[0].code) == (0, ReasonCode.UNPAID)
        world.office.perform(effects)
        world.pay(bid, COSTS)
        assert world.workers.held == {}, "too late"
        assert due(world, bid) == (0, 0)
        assert isinstance(say(world, other, order(world, other))[0].doc, Reserved)

    play(story())


def test_every_objection_has_its_number(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path, held=1)
        plain = world.lease()
        assert ReasonCode.CLASS_NOT_SOLD in reasons(say(world, plain, order(world, plain))[0])
        bid = lease(world, cap=2 * COSTS, window=COSTS)
        dear = reasons(say(world, bid, order(world, bid, SECONDS + 1))[0])
        assert set(dear) == {ReasonCode.WINDOW_TOO_SMALL}
        assert (dear[ReasonCode.WINDOW_TOO_SMALL].wanted, dear[ReasonCode.WINDOW_TOO_SMALL].limit) == (
            COSTS + RATE, COSTS,
        )  # fmt: skip
        for slices in (1, 2):
            say(world, bid, order(world, bid))
            world.pay(bid, slices * COSTS)
        above = reasons(say(world, bid, order(world, bid, 1))[0])[ReasonCode.PRICE_ABOVE_CAP]
        assert (above.wanted, above.limit) == (2 * COSTS + RATE, 2 * COSTS)
        other = lease(world)
        held = reasons(say(world, other, order(world, other))[0])[ReasonCode.RESERVED]
        assert (held.wanted, held.limit, held.unit) == (2, 1, "workers held")
        world.now += limits.HOUR - 10_000
        late = lease(world)
        late_bid = world.office.leases.get(late.id)
        world.now = late_bid.expires_ms - 5_000
        world.office.perform(world.office.reservations.tick())
        short = reasons(say(world, late, order(world, late))[0])[ReasonCode.EXPIRY_TOO_LATE]
        assert (short.wanted, short.limit) == (SECONDS * limits.SECOND, 5_000)
        world.gate = (Reason(ReasonCode.DRAINING),)
        assert ReasonCode.DRAINING in reasons(say(world, late, order(world, late, 1))[0])

    play(story())


def test_a_busy_worker_is_held_for_nobody_unless_it_can_be_freed(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path, size=1)
        running = world.begin(world.lease())
        await world.until(lambda: world.state(running) == AttemptState.RUNNING)
        bid = lease(world)
        busy = reasons(say(world, bid, order(world, bid))[0])[ReasonCode.RESERVED]
        assert (busy.wanted, busy.limit) == (1, 0)
        world.workers.gate.set()
        await world.until(lambda: not world.office.busy())
        world.workers.gate.clear()
        spot = world.begin(world.lease(bid_class=BidClass.INTERRUPTIBLE, rate=SHEET.per_step_megapixel // 2))
        await world.until(lambda: world.state(spot) == AttemptState.RUNNING)
        world.now += 100_000  # its steps take long
        assert isinstance(say(world, bid, order(world, bid))[0].doc, Reserved)
        assert world.state(spot) == AttemptState.RUNNING, "nothing is paid so far"
        world.pay(bid, COSTS)
        await world.until(lambda: world.state(spot) == AttemptState.PREEMPTED)
        assert world.workers.held == {bid.id: MODEL}

    play(story())


def test_a_lease_that_has_a_worker_held_is_not_idle(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world, window=120 * RATE)
        say(world, bid, order(world, bid, 120))
        world.pay(bid, 120 * RATE)
        world.now += 119_000
        world.office.perform(world.office.leases.tick())
        assert world.office.leases.get(bid.id).state != LeaseState.CLOSING
        world.now += 1_000
        world.office.perform([*world.office.reservations.tick(), *world.office.leases.tick()])
        assert world.office.leases.get(bid.id).state != LeaseState.CLOSING, "its idle time begins now"
        world.now += 60_000
        world.office.perform(world.office.leases.tick())
        assert world.office.leases.get(bid.id).state == LeaseState.CLOSING

    play(story())


def test_with_its_lease_it_ends(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world)
        say(world, bid, order(world, bid))
        world.pay(bid, COSTS)
        world.office.perform(world.office.leases.close_all("that is all"))
        assert world.workers.held == {}
        with world.store.read() as rows:
            assert rows.all(ReservationRow, over=False) == []

    play(story())


def test_after_a_restart_what_was_reserved_is_given_back_whole(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world)
        say(world, bid, order(world, bid))
        world.pay(bid, COSTS)
        world.now += 5_000
        world.store.close()
        again = make(tmp_path)
        again.now = world.now
        await again.office.start()
        assert again.workers.held == {}
        assert due(again, bid) == (0, 0)
        await again.office.stop(settle=False)

    play(story())


def test_reserved_seconds_and_pictures_are_paid_side_by_side(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        world.workers.gate.set()
        bid = lease(world)
        say(world, bid, order(world, bid))
        world.pay(bid, COSTS)
        own = world.begin(bid)
        await world.until(lambda: world.state(own) == AttemptState.DELIVERED)
        with world.store.read() as rows:
            (delivery,) = Account.load(rows, find(rows, bid.id)).deliveries
        world.pay(bid, COSTS, Lock(PICTURE, delivery.hashlock))
        assert world.state(own) == AttemptState.PAID
        with world.store.read() as rows:
            account = Account.load(rows, find(rows, bid.id))
        assert (account.work_due, account.uncaptured) == (COSTS + PICTURE, COSTS + PICTURE)

    play(story())


@pytest.mark.parametrize("hostile", ["another lease", "another client"])
def test_only_the_lease_s_client_reserves_on_its_own_stream(tmp_path: Path, hostile: str) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid, other = lease(world), lease(world)
        document = order(world, bid)
        if hostile == "another client":
            head = world.desk.head(world.desk.did, parent=bid.id)
            document = world.desk.sign(Reserve(head, bid.id, 1_000)).envelope
        with pytest.raises(PeerError):
            world.office.order(other.id if hostile == "another lease" else bid.id, document)
        with world.store.read() as rows:
            assert rows.all(ReservationRow) == []

    play(story())


def test_an_owner_who_takes_the_machine_back_lets_go_of_what_is_held(tmp_path: Path) -> None:
    async def story() -> None:
        world = make(tmp_path)
        bid = lease(world)
        say(world, bid, order(world, bid))
        world.pay(bid, COSTS)
        world.office.clearing.reclaim(0)
        assert world.workers.held == {}
        assert due(world, bid) == (0, 0), "no second of it has begun"

    play(story())
