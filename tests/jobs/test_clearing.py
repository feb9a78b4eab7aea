"""Everybody's stop at once: the machine taken back with notice; a node that goes down and is paid for what it did."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import PICTURE, STEPS, Scripted, World

from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.lifecycle import AttemptState, LeaseState
from gpufair.protocol.messages import Answer, JobEnded, KeyReveal, Lock, Outcome, Reason, ReasonCode
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow, LeaseRow

STEP = PICTURE // STEPS


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def end(world: World, attempt: bytes) -> JobEnded:
    with world.store.read() as rows:
        found = rows.get(AttemptRow, id=attempt)
    assert found is not None
    return from_bytes(found.ended, JobEnded).doc


def test_a_reclaim_gives_each_job_its_leases_notice(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(size=2))
        soon, later = world.begin(world.lease()), world.begin(world.lease(notice_ms=60_000))
        await world.until(lambda: world.office.runner.running == 2)
        waits = world.begin(world.lease(notice_ms=60_000))
        assert world.office.clearing.reclaim(0) == 60_000
        assert world.state(waits) == AttemptState.RECLAIMED, "what waits ends at once"
        await world.until(lambda: world.state(soon) == AttemptState.RECLAIMED)
        assert end(world, soon).reasons == (Reason(ReasonCode.RECLAIMED, 0, 0, "ms of notice"),)
        assert world.state(later) == AttemptState.RUNNING
        world.workers.gate.set()
        await world.until(lambda: world.state(later) == AttemptState.DELIVERED)
        world.office.clearing.keep()
        await world.office.stop(settle=False)

    play(story())


def test_a_longer_notice_than_was_agreed_holds_and_who_is_kept_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        attempt = world.begin(world.lease(notice_ms=10))
        await world.until(lambda: world.office.runner.running == 1)
        assert world.office.clearing.reclaim(50) == 50
        world.office.clearing.keep()
        await asyncio.sleep(0.1)
        assert world.state(attempt) == AttemptState.RUNNING, "the owner has changed its mind"
        assert world.office.clearing.reclaim(5) == 10, "never less than was agreed"
        await world.until(lambda: world.state(attempt) == AttemptState.RECLAIMED)
        told = end(world, attempt)
        assert (told.outcome, told.reasons[0].wanted, told.reasons[0].limit) == (Outcome.RECLAIMED, 10, 10)

    play(story())


def test_a_node_that_goes_down_sells_what_was_done_before_it_settles(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        await world.office.start()
        lease = world.lease()
        async with world.stream(lease) as line:
            attempt = world.begin(lease)
            await world.until(lambda: any(getattr(m, "step", 0) == 1 for m in line.got))
            stopping = asyncio.create_task(world.office.stop(settle=True))
            await world.until(lambda: world.state(attempt) == AttemptState.DRAINED)
            with world.store.read() as rows:
                (delivery,) = rows.all(DeliveryRow)
            world.pay(lease, 0, Lock(delivery.amount, delivery.hashlock))
            await line.heard(KeyReveal)
            await stopping
        assert (delivery.step, delivery.amount) == (1, STEP)
        assert end(world, attempt).reasons[0].code is ReasonCode.DRAINING
        with world.store.read() as rows:
            assert [row.state for row in rows.all(LeaseRow)] == [LeaseState.CLOSING]

    play(story())


def test_a_client_that_does_not_pay_holds_no_node_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpufair.provider.jobs.clearing.PAID_S", 0.05)

    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease = world.lease()
        async with world.stream(lease) as line:
            world.begin(lease)
            await world.until(lambda: any(getattr(m, "step", 0) == 1 for m in line.got))
            await asyncio.wait_for(world.office.clearing.drain(), 2)
            await line.heard(Answer)
        assert not any(isinstance(m, KeyReveal) for m in line.got)

    play(story())
