"""A node that was killed: what ran goes on from its last delivery, is billed once, and its client hears of it again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from office_world import PICTURE, PROFILE, STEPS, Scripted, World, state

from gpufair.protocol import trace
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import (
    Beat,
    Bid,
    JobEnded,
    Lock,
    Outcome,
    Precision,
    Progress,
    ReasonCode,
    Receipt,
)
from gpufair.provider.jobs.beats import beats
from gpufair.provider.jobs.preempting import AtWork
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow
from gpufair.provider.jobs.turns import Turn
from gpufair.provider.workers.places import Wish

STEP = PICTURE // STEPS
OTHER = replace(PROFILE, torch="another")


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def deliveries(world: World) -> list[DeliveryRow]:
    with world.store.read() as rows:
        return sorted(rows.all(DeliveryRow), key=lambda d: (d.picture, d.step or 99))


async def killed(world: World, *, keeps: bool = False, carries: bool = True) -> World:
    """The process is gone, and another has the same store; `keeps`: what was written of traces is on disk."""
    folder = world.path.parent / "traces"
    parts = {path: path.read_bytes() for path in folder.glob("*.part")}
    for task in (tasks := [*world.office.runner._tasks]):
        task.remove_done_callback(world.office.runner._finished)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for path, data in parts.items() if keeps else ():
        path.write_bytes(data)
    world.store.close()
    workers = Scripted(size=world.workers.size, held_before=99)
    again = World(world.path, workers=workers, carries=lambda _model: carries)
    again.now, again.dice = world.now, world.dice
    return again


def at_work(world: World) -> list[AtWork]:
    return [running.work for running in world.office.runner._running.values()]


def pay(world: World, lease: Signed[Bid], number: int) -> None:
    made = deliveries(world)
    world.pay(lease, sum(one.amount for one in made[:number]), Lock(made[number].amount, made[number].hashlock))


def test_what_ran_and_what_waited_go_on(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        first, second = (world.begin(world.lease()) for _ in range(2))
        await world.until(lambda: world.office.runner.running == 1)
        again = await killed(world)
        await again.office.start()
        await again.until(lambda: again.state(second) == AttemptState.DELIVERED)
        assert again.state(first) == AttemptState.DELIVERED
        assert again.workers.started == [first, second]
        assert [run.first_step for run in again.workers.runs] == [0, 0], "nothing of it was delivered"
        await again.office.stop(settle=False)

    play(story())


def test_it_goes_on_from_the_last_piece_and_no_step_is_billed_twice(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(held_before=4))
        lease = world.lease(window=10 * PICTURE)
        attempt = world.begin(lease, count=2, steps=6, checkpoint_every=2)
        await world.until(lambda: len(deliveries(world)) == 1)
        pay(world, lease, 0)
        await world.until(lambda: len(world.workers.runs) == 2)
        again = await killed(world)
        await again.office.start()
        for number in range(1, 6):
            await again.until(lambda n=number: len(deliveries(again)) == n + 1)  # type: ignore[misc]
            pay(again, lease, number)
        await again.until(lambda: again.state(attempt) == AttemptState.PAID)
        assert [run.first_step for run in again.workers.runs] == [2, 4, 0, 2, 4]
        assert [(d.picture, d.step, d.amount) for d in deliveries(again)] == [
            (0, 2, 2 * STEP), (0, 4, 2 * STEP), (0, 0, 2 * STEP), (1, 2, 2 * STEP), (1, 4, 2 * STEP), (1, 0, 2 * STEP),
        ]  # fmt: skip
        whole = trace.root([trace.leaf(step, state(0, step)) for step in range(7)])
        assert from_bytes(deliveries(again)[2].receipt, Receipt).doc.trace_root == whole, "as if nothing had happened"
        await again.office.stop(settle=False)

    play(story())


def test_it_goes_on_from_the_last_state_that_is_on_disk(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(held_before=5))
        lease = world.lease(window=10 * PICTURE)
        attempt = world.begin(lease, steps=6, checkpoint_every=3)
        await world.until(lambda: len(deliveries(world)) == 1)
        pay(world, lease, 0)
        await world.until(lambda: len(world.workers.runs) == 2)
        again = await killed(world, keeps=True)
        await again.office.start()
        await again.until(lambda: again.state(attempt) == AttemptState.DELIVERED)
        assert [run.first_step for run in again.workers.runs] == [4], "after the last step that was told"
        kept = again.office._traces.open(lease.id, deliveries(again)[0].job, 0)
        assert kept is not None
        assert [kept.state(step) for step in range(7)] == [state(0, step) for step in range(7)], "it can be audited"
        await again.office.stop(settle=False)

    play(story())


def test_killed_between_a_piece_and_its_delivery_it_does_the_last_step_again(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        attempt = world.begin(world.lease(window=10 * PICTURE), steps=6, checkpoint_every=3)
        await world.until(lambda: len(world.workers.runs) == 1)
        again = await killed(world)
        told = b"".join((64).to_bytes(4, "big") + state(0, step) for step in range(4))
        (tmp_path / "traces" / f"{attempt.hex()}-0.part").write_bytes(told)
        again = await killed(again)
        await again.office.start()
        await again.until(lambda: len(deliveries(again)) == 1)
        assert [run.first_step for run in again.workers.runs] == [2]
        assert from_bytes(deliveries(again)[0].receipt, Receipt).doc.last_step == 3
        await again.office.stop(settle=False)

    play(story())


def test_on_another_runtime_profile_it_fails_instead_of_coming_out_otherwise(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(profile=OTHER))
        attempt = world.begin(world.lease())
        await world.until(lambda: any(work.done for work in at_work(world)))
        again = await killed(world, keeps=True)
        await again.office.start()
        await again.until(lambda: again.state(attempt) == AttemptState.FAILED)
        assert again.ended(attempt).reasons[0].code is ReasonCode.WORKER_GONE
        assert deliveries(again) == []
        await again.office.stop(settle=False)

    play(story())


def test_a_model_whose_states_are_no_use_begins_anew(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", carries=lambda _model: False)
        lease = world.lease()
        attempt = world.begin(lease)
        await world.until(lambda: any((tmp_path / "traces").glob("*.part")))
        again = await killed(world, keeps=True, carries=False)
        await again.office.start()
        await again.until(lambda: again.state(attempt) == AttemptState.DELIVERED)
        assert [run.first_step for run in again.workers.runs] == [0]
        assert again.office._traces.open(lease.id, deliveries(again)[0].job, 0) is not None
        await again.office.stop(settle=False)

    play(story())


def test_what_is_late_or_may_come_out_otherwise_is_not_begun_again(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(size=2))
        late = world.begin(world.lease(), deadline_ms=50_000)
        shared = world.begin(world.lease(), precision=Precision.SINGLE)
        await world.until(lambda: world.office.runner.running == 2)
        world.now += 50_000
        again = await killed(world)
        await again.office.start()
        assert again.state(late) == AttemptState.EXPIRED
        assert again.state(shared) == AttemptState.FAILED
        with again.store.read() as rows:
            told = from_bytes(rows.get(AttemptRow, id=shared).ended, JobEnded).doc
        assert (told.outcome, told.reasons[0].code) == (Outcome.FAILED, ReasonCode.RESTARTED)
        assert again.workers.runs == []
        await again.office.stop(settle=False)

    play(story())


def test_who_has_a_job_here_hears_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        leases = [world.lease(), world.lease()]
        async with world.stream(leases[0]) as first, world.stream(leases[1]) as second:
            attempts = [world.begin(lease) for lease in leases]
            await first.heard(Progress)
            world.office.perform(world.office.runner.beats())
            heard = [await line.heard(Beat) for line in (first, second)]
        with world.store.read() as rows:
            jobs = [rows.get(AttemptRow, id=attempt).job for attempt in attempts]
        assert [(beat.job, beat.ahead) for beat in heard] == [(jobs[0], 0), (jobs[1], 1)]
        await world.office.stop(settle=False)

    play(story())


def test_a_beat_tells_how_many_go_before_and_how_long_it_will_take() -> None:
    def turn(number: int, lasts_ms: int) -> Turn:
        name = bytes([number])
        return Turn(name, name * 32, name * 16, Wish(b"m"), 0, 1, 10, lasts_ms=lasts_ms)

    work = AtWork(turn(1, 9_000), since_ms=0, done=4)
    told = beats([work], [turn(2, 3_000), turn(3, 500)], 1, 4_000)
    assert [(one.lease, one.message) for one in told] == [
        (b"\1" * 32, Beat(b"\1" * 16, 0, 6_000)),
        (b"\2" * 32, Beat(b"\2" * 16, 1, 9_000)),
        (b"\3" * 32, Beat(b"\3" * 16, 2, 9_500)),
    ]
    assert beats([], [], 1, 0) == []
