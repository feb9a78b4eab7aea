"""A body is opened with the key that its lease names, and with none once the lease is over (rule 16)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import CANARY, World

from gpufair.protocol import limits
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import Outcome
from gpufair.provider.jobs.store import LeaseRow


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "jobs.db")
    first = tmp_path / "keys" / "sealing.pem"
    os.utime(first, (made.now / 1000, made.now / 1000))
    return made


def a_day_later(world: World) -> None:
    """The key changes; a little later what nobody needs is erased."""
    for ms in (limits.SEALING_KEY_MS, limits.SUPERSEDED_GRACE_MS + 1):
        world.now += ms
        world.office.turn_keys()


def test_a_lease_keeps_its_key_over_a_change_and_a_restart(world: World, tmp_path: Path) -> None:
    async def story() -> None:
        lease, before = world.lease(), world.sealing.public
        job, order, body = world.job(lease)
        world.office.perform(world.office.order(lease.id, order.envelope))
        world.sealing.turn(world.now + limits.SEALING_KEY_MS, world.office.leases.sealing_keys())
        assert world.sealing.public != before
        world.store.close()
        again = World(world.path)
        again.workers.gate.set()
        assert again.office.leases.sealing_keys() == {before}
        again.send(lease, body)
        await again.until(lambda: again.attempt(job).state == AttemptState.DELIVERED)
        assert [run.prompt for run in again.workers.runs] == [CANARY]
        after = again.lease()
        assert again.begin(after)
        assert again.office.leases.sealing_keys() == {before, again.sealing.public}
        await again.until(lambda: len(again.workers.runs) == 2)

    play(story())


def test_a_key_dies_with_its_last_lease(world: World, tmp_path: Path) -> None:
    """Agreed, funded and open leases keep it; one that is closing does no more work."""
    lease, first = world.lease(), world.sealing.public
    a_day_later(world)
    assert world.sealing.find(first) is not None
    world.office.leases.close(lease.id, "over", Outcome.EXPIRED)
    world.office.turn_keys()
    assert world.sealing.find(first) is None
    assert not (tmp_path / "keys" / "sealing.pem").exists()


def test_a_body_whose_key_is_gone_fails_its_job_and_says_why(world: World) -> None:
    """Where an old backup of the keys was put back."""

    async def story() -> None:
        lease = world.lease()
        with world.store.begin() as rows:
            rows.change(LeaseRow, {"id": lease.id}, sealing_key=bytes(32))
        job, order, body = world.job(lease, sealed=b"to a key that is gone")
        world.office.perform(world.office.order(lease.id, order.envelope))
        world.send(lease, body)
        await world.until(lambda: world.attempt(job).state == AttemptState.FAILED)
        assert b"is gone" in world.attempt(job).ended

    play(story())


def test_leases_of_a_time_with_one_key_keep_that_one(world: World) -> None:
    async def story() -> None:
        lease, first = world.lease(), world.sealing.public
        with world.store.begin() as rows:
            rows.change(LeaseRow, {"id": lease.id}, sealing_key=b"")
        world.sealing.turn(world.now + limits.SEALING_KEY_MS, world.office.leases.sealing_keys())
        await world.office.start()
        assert world.office.leases.sealing_keys() == {first}
        await world.office.stop(settle=False)

    play(story())


def test_leases_that_nobody_funded_are_forgotten_after_a_day(world: World) -> None:
    """Not before, and not one whose late hold was given back: that is evidence."""
    funded = world.lease()
    with world.store.begin() as rows:
        row = rows.get(LeaseRow, id=funded.id)
        assert row is not None
        rows.change(LeaseRow, {"id": row.id}, state="abandoned")  # its hold came too late
    for _ in range(3):
        world.agreed()
    world.now += limits.FUNDING_TIMEOUT_MS
    world.office.leases.tick()

    def left() -> int:
        world.office.leases.forget()
        with world.store.read() as rows:
            return rows.summary(LeaseRow, "window").count

    world.now += limits.ABANDONED_KEPT_MS - limits.FUNDING_TIMEOUT_MS
    assert left() == 4
    world.now += 1
    assert left() == 1
    with world.store.read() as rows:
        assert rows.all(LeaseRow)[0].id == funded.id
