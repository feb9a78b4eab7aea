"""Better bids and held workers, with real workers: what stops is sold to its step; who pays for a worker has it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "paced"))

from office_world import SHEET, World
from paced_runtime import PacedRuntime

from gpufair.protocol import limits, sealing
from gpufair.protocol.envelope import Signed, from_bytes, read
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import (
    Answer,
    Bid,
    BidClass,
    Input,
    InputKind,
    Lock,
    Order,
    Outcome,
    Progress,
    Receipt,
    Reserve,
    Reserved,
    ReserveEnded,
)
from gpufair.provider.jobs.store import DeliveryRow
from gpufair.provider.workers.pool import Pool
from gpufair.provider.workers.runtime import WorkerSpec

WINDOW, STEPS = 10**9, 60
SPOT, RATE = BidClass.INTERRUPTIBLE, SHEET.per_step_megapixel


class OsRandom:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


@asynccontextmanager
async def shop(folder: Path, *, size: int, pace_ms: int, held: int = 0) -> AsyncIterator[tuple[World, Pool]]:
    """A provider with so many workers, which take their time."""
    spec = WorkerSpec(models=folder, memory_bytes=256 << 20)
    pool = Pool(PacedRuntime("did:test", folder / "w", pace_ms), [spec] * size, lambda _digest: folder, OsRandom())
    world = World(folder / "jobs.db", workers=pool, held_workers=held)  # type: ignore[arg-type]
    try:
        yield world, pool
    finally:
        await world.office.stop(settle=False)
        await pool.close()


def lease(world: World, **terms: Any) -> Signed[Bid]:
    return world.lease(window=WINDOW, cap=10 * WINDOW, **terms)


def made(world: World, attempt: bytes) -> list[DeliveryRow]:
    with world.store.read() as rows:
        return rows.all(DeliveryRow, attempt=attempt)


def test_a_picture_that_made_way_is_sold_to_its_step_and_goes_on_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path, size=1, pace_ms=5) as (world, _):
            first, job = lease(world, bid_class=SPOT, rate=RATE // 2), world.bytes(16)
            async with world.stream(first) as line:
                spot = world.begin(first, job=job, steps=STEPS)
                await world.until(lambda: any(isinstance(m, Progress) and m.step == 5 for m in line.got), 30)
                world.now += 60_000  # as if its steps took seconds
                demand = world.begin(lease(world), steps=STEPS)
                await world.until(lambda: world.state(spot) == AttemptState.PREEMPTED, 30)
            assert world.ended(spot).outcome is Outcome.PREEMPTED
            (part,) = made(world, spot)
            far = from_bytes(part.receipt, Receipt).doc
            assert 5 <= far.last_step == part.step < STEPS
            assert part.amount == 64 * far.last_step // 2, "at its own price, exactly the steps that were done"
            world.pay(first, 0, Lock(part.amount, part.hashlock))
            (part,) = made(world, spot)
            assert part.revealed
            state = sealing.decrypt_output(part.cipher, part.key)
            # It comes back under another lease, and waits until the better bid is through.
            second = lease(world, bid_class=SPOT, rate=RATE // 2)
            given = (Input(InputKind.STATE, state),)
            again = world.begin(second, job=job, steps=STEPS, done=far.last_step, inputs=given)
            await world.until(lambda: world.state(again) == AttemptState.DELIVERED, 30)
            assert world.state(demand) == AttemptState.DELIVERED
            (rest,) = made(world, again)
            assert part.amount + rest.amount == 64 * STEPS // 2

    play(story())


def test_a_worker_is_held_over_a_stream(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path, size=2, pace_ms=2, held=1) as (world, pool):
            mine = lease(world, bid_class=BidClass.RESERVED, per_second=7)
            async with world.stream(mine) as line:
                head = world.client.head(world.desk.did, parent=mine.id)
                order = world.client.sign(Reserve(head, mine.id, 20 * limits.SECOND))
                line.say(Order(order.envelope))
                answer = await line.heard(Answer)
                assert answer.job == order.doc.head.id
                assert read(answer.envelope, Reserved).doc.amount == 140
                world.pay(mine, 140)
                held = next(place for place in pool._places if place.holder == mine.id)
                await world.until(lambda: held.holds(mine.doc.sheet.model) and held.empty, 30)
                others = [world.begin(lease(world), steps=STEPS) for _ in range(2)]
                own = world.begin(mine, steps=5)
                await world.until(lambda: world.state(own) == AttemptState.DELIVERED, 30)
                assert world.state(others[1]) == AttemptState.QUEUED, "the held worker was never theirs"
                world.office.clearing.reclaim(0)
                await world.until(lambda: len([m for m in line.got if isinstance(m, Answer)]) == 3, 30)
                ended = [m for m in line.got if isinstance(m, Answer)][-1]
                assert read(ended.envelope, ReserveEnded).doc.credit == 140
                await world.until(lambda: not world.office.busy(), 30)

    play(story())
