"""Better bids at the door of a full house: what is under way stops for them, is told why, and not again and again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from office_world import SHEET, Scripted, World

from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.limits import FUNDING_TIMEOUT_MS, PREEMPT_GAIN_MS, PREEMPTIONS_MAX
from gpufair.protocol.messages import BidClass, JobEnded, Outcome, ReasonCode
from gpufair.provider.jobs.capacity import Capacity, waiting
from gpufair.provider.jobs.store import AttemptRow

SPOT, RATE = BidClass.INTERRUPTIBLE, SHEET.per_step_megapixel


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def end(world: World, attempt: bytes) -> JobEnded:
    with world.store.read() as rows:
        found = rows.get(AttemptRow, id=attempt)
    assert found is not None
    return from_bytes(found.ended, JobEnded).doc


async def at_work(world: World, *attempts: bytes) -> None:
    """Wait until they are in the making, and slowly: none is about to finish."""
    await world.until(lambda: all(world.state(one) == AttemptState.RUNNING for one in attempts))
    await world.until(lambda: set(attempts) <= set(world.workers.started))
    world.now += 10 * PREEMPT_GAIN_MS


def test_on_demand_takes_the_place_of_the_worst_paid(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(size=2))
        better, worst = (world.begin(world.lease(bid_class=SPOT, rate=RATE * share // 10)) for share in (6, 5))
        await at_work(world, better, worst)
        demand = world.begin(world.lease())
        await at_work(world, better, demand)
        told = end(world, worst)
        assert told.outcome is Outcome.PREEMPTED
        (reason,) = told.reasons
        assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.PREEMPTED, RATE // 2, RATE)
        world.workers.gate.set()
        await world.until(lambda: not world.office.busy())
        assert [world.state(one) for one in (better, worst, demand)] == [
            AttemptState.DELIVERED, AttemptState.PREEMPTED, AttemptState.DELIVERED,
        ]  # fmt: skip

    play(story())


def test_on_demand_stops_for_nobody_and_interruptible_for_no_small_difference(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(size=2))
        demand, spot = world.begin(world.lease(rate=RATE // 2)), world.begin(world.lease(bid_class=SPOT, rate=RATE))
        await at_work(world, demand, spot)
        late = world.begin(world.lease(bid_class=SPOT, rate=RATE * 11 // 10, window=10**9))
        assert [world.state(one) for one in (demand, spot, late)] == [AttemptState.RUNNING] * 2 + [AttemptState.QUEUED]
        later = world.begin(world.lease(bid_class=SPOT, rate=RATE * 12 // 10, window=10**9))
        await at_work(world, demand, later)
        assert [world.state(one) for one in (spot, late)] == [AttemptState.PREEMPTED, AttemptState.QUEUED]
        await world.office.stop(settle=False)

    play(story())


def test_nobody_stops_for_a_lease_that_owes(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", unpaid_ms=10**9)
        world.workers.gate.set()
        lease = world.lease()
        owed = world.begin(lease)
        await world.until(lambda: world.state(owed) == AttemptState.DELIVERED)
        world.workers.gate.clear()
        spot = world.begin(world.lease(bid_class=SPOT, rate=1))
        await at_work(world, spot)
        more = world.begin(lease)
        assert [world.state(one) for one in (spot, more)] == [AttemptState.RUNNING, AttemptState.QUEUED]
        await world.office.stop(settle=False)

    play(story())


def test_a_job_that_was_displaced_so_often_is_let_finish(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        job = world.bytes(16)
        for times in range(PREEMPTIONS_MAX + 1):
            spot = world.begin(world.lease(bid_class=SPOT, rate=RATE // 2), job=job)
            await at_work(world, spot)
            demand = world.begin(world.lease())
            if times < PREEMPTIONS_MAX:
                await at_work(world, demand)
            world.workers.gate.set()
            await world.until(lambda: not world.office.busy())
            world.workers.gate.clear()
            assert world.state(spot) == (AttemptState.PREEMPTED if times < PREEMPTIONS_MAX else AttemptState.DELIVERED)
            assert world.state(demand) == AttemptState.DELIVERED

    play(story())


def test_on_demand_finds_only_its_like_waiting(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        capacity = Capacity(workers=1, queue=2)

        def counted() -> list[tuple[int, int]]:
            with world.store.read() as rows:
                return [
                    (waiting(rows, on_demand=one), capacity.taken(rows, world.now, on_demand=one))
                    for one in (True, False)
                ]

        assert counted() == [(0, 0), (0, 0)]
        await at_work(world, world.begin(world.lease(bid_class=SPOT)))
        world.begin(world.lease(bid_class=SPOT, rate=RATE // 2))
        # The leases have no streams: a mere lease takes a place for half a minute, which is over.
        world.now += FUNDING_TIMEOUT_MS
        assert counted() == [(0, 0), (1, 2)]
        await at_work(world, world.begin(world.lease()))
        world.now += FUNDING_TIMEOUT_MS
        assert counted() == [(0, 1), (1, 2)]
        world.begin(world.lease())
        assert counted() == [(1, 3), (2, 4)], "it was paid just now, and its job waits"
        await world.office.stop(settle=False)

    play(story())
