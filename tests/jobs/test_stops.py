"""The five stops, in every phase of a job: each ends at a step, and what was done by then is sold, once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import PICTURE, STEPS, Scripted, World, state

from gpufair.protocol import limits, sealing
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import (
    Answer,
    Bid,
    Cancel,
    Delivery,
    Goods,
    JobEnded,
    KeyReveal,
    Lock,
    Outcome,
    Reason,
    ReasonCode,
    Receipt,
)
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow

STEP = PICTURE // STEPS
STOPS = {
    Outcome.CANCELLED: AttemptState.CANCELLED,
    Outcome.RECLAIMED: AttemptState.RECLAIMED,
    Outcome.PREEMPTED: AttemptState.PREEMPTED,
    Outcome.DRAINED: AttemptState.DRAINED,
    Outcome.EXPIRED: AttemptState.EXPIRED,
}
WHY = Reason(ReasonCode.RECLAIMED)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def deliveries(world: World) -> list[DeliveryRow]:
    with world.store.read() as rows:
        return sorted(rows.all(DeliveryRow), key=lambda d: (d.picture, d.step or 99))


def row(world: World, attempt: bytes) -> AttemptRow:
    with world.store.read() as rows:
        found = rows.get(AttemptRow, id=attempt)
    assert found is not None
    return found


def lock(world: World, lease: Signed[Bid], delivery: DeliveryRow) -> None:
    """Pay for a delivery beside all that was made before."""
    before = sum(one.amount for one in deliveries(world) if one.made_ms <= delivery.made_ms and one != delivery)
    world.pay(lease, before, Lock(delivery.amount, delivery.hashlock))


def prefix(steps: int, **more: Any) -> Scripted:
    """Workers that halt before a step, until they are told to stop."""
    return Scripted(held_before=steps + 1, **more)


@pytest.mark.parametrize("outcome", STOPS)
def test_what_was_done_is_sold_with_the_end(tmp_path: Path, outcome: Outcome) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=prefix(2))
        lease = world.lease()
        async with world.stream(lease) as line:
            attempt = world.begin(lease)
            await world.until(lambda: any(getattr(m, "step", 0) == 2 for m in line.got))
            world.office.runner.stop(attempt, outcome, WHY)
            await world.until(lambda: not world.office.busy())
            (delivery,) = deliveries(world)
            lock(world, lease, delivery)
            await line.heard(KeyReveal)
        assert world.state(attempt) == STOPS[outcome]
        said = [m for m in line.got if isinstance(m, Delivery | KeyReveal | Answer)]
        end, key = said[-2:]
        assert [type(m) for m in said] == [Delivery, Answer, KeyReveal], "the checkpoint, the end, and then its key"
        told = from_bytes(row(world, attempt).ended, JobEnded).doc
        assert (told.outcome, told.reasons) == (outcome, (WHY,))
        assert isinstance(end, Answer)
        assert isinstance(key, KeyReveal)
        receipt = from_bytes(delivery.receipt, Receipt).doc
        assert (receipt.goods, receipt.first_step, receipt.last_step) == (Goods.CHECKPOINT, 0, 2)
        assert (delivery.amount, key.step) == (2 * STEP, 2), "for exactly the steps that were done"
        assert sealing.decrypt_output(delivery.cipher, key.key) == state(0, 2)

    play(story())


def test_one_that_waits_ends_at_once_and_gets_its_up_front_lines_back(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.begin(world.lease())
        waits = world.begin(world.lease())
        world.office.runner.stop(waits, Outcome.DRAINED, WHY)
        assert world.state(waits) == AttemptState.DRAINED
        assert deliveries(world) == []
        assert world.office.runner.waiting == 0

    play(story())


def test_before_its_first_step_there_is_nothing_to_sell(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=prefix(0))
        attempt = world.begin(world.lease())
        await world.until(lambda: world.office.runner.running == 1)
        world.office.runner.stop(attempt, Outcome.RECLAIMED, WHY)
        await world.until(lambda: world.state(attempt) == AttemptState.RECLAIMED)
        assert deliveries(world) == []

    play(story())


def test_at_the_window_nothing_was_done_since_the_last_piece(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(held_before=99))
        lease = world.lease(window=STEP)
        attempt = world.begin(lease)
        await world.until(lambda: len(deliveries(world)) == 1)
        world.office.runner.stop(attempt, Outcome.RECLAIMED, WHY)
        await world.until(lambda: world.state(attempt) == AttemptState.RECLAIMED)
        (delivery,) = deliveries(world)
        lock(world, lease, delivery)
        assert [d.revealed for d in deliveries(world)] == [True], "its key is sold after the end, too"

    play(story())


def test_between_two_pieces_only_the_steps_since_the_last_one_are_sold(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=prefix(3))
        lease = world.lease(window=10 * PICTURE)
        attempt = world.begin(lease, steps=6, checkpoint_every=2)
        await world.until(lambda: len(deliveries(world)) == 1)
        lock(world, lease, deliveries(world)[0])
        await world.until(lambda: len(world.workers.runs) == 2)
        world.office.runner.stop(attempt, Outcome.PREEMPTED, WHY)
        await world.until(lambda: world.state(attempt) == AttemptState.PREEMPTED)
        assert [(d.step, d.amount) for d in deliveries(world)] == [(2, 2 * STEP), (3, STEP)]
        told = from_bytes(deliveries(world)[1].receipt, Receipt).doc
        assert (told.first_step, told.last_step, told.leaf_count) == (2, 3, 4)

    play(story())


def test_a_picture_that_is_all_but_done_is_delivered_instead(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(held_before=99))
        attempt = world.begin(world.lease(window=10 * PICTURE), count=2)
        await world.until(lambda: world.state(attempt) == AttemptState.RUNNING)
        world.office.runner.stop(attempt, Outcome.RECLAIMED, WHY)  # this worker finishes what it is at
        await world.until(lambda: world.state(attempt) == AttemptState.RECLAIMED)
        assert [(d.picture, d.step) for d in deliveries(world)] == [(0, 0)]
        last = world.begin(world.lease())
        await world.until(lambda: world.state(last) == AttemptState.RUNNING)
        world.office.runner.stop(last, Outcome.RECLAIMED, WHY)
        await world.until(lambda: not world.office.busy())
        assert world.state(last) == AttemptState.DELIVERED, "nothing was left to stop"

    play(story())


def test_a_worker_that_does_not_stop_in_time_gets_no_checkpoint_sold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WORKER_STOP_MS", 30)

    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=prefix(2, deaf=True))
        attempt = world.begin(world.lease())
        await world.until(lambda: world.office.runner.running == 1)
        world.office.runner.stop(attempt, Outcome.RECLAIMED, WHY)
        await world.until(lambda: world.state(attempt) == AttemptState.RECLAIMED)
        assert deliveries(world) == []
        assert world.office.runner.running == 1, "its place is taken as long as it goes on"

    play(story())


def test_the_first_stop_counts_and_a_failure_sells_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=prefix(2))
        lease = world.lease()
        attempt = world.begin(lease)
        await world.until(lambda: world.office.runner.running == 1)
        runner = world.office.runner
        runner.stop(attempt, Outcome.PREEMPTED, WHY)
        runner.stop(attempt, Outcome.RECLAIMED, WHY)
        await world.until(lambda: not world.office.busy())
        assert world.state(attempt) == AttemptState.PREEMPTED
        runner.stop(attempt, Outcome.CANCELLED, WHY)
        assert world.state(attempt) == AttemptState.PREEMPTED, "what has ended stays so"

    play(story())


def test_a_model_whose_states_are_no_use_sells_no_checkpoint(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=prefix(2), carries=lambda _model: False)
        attempt = world.begin(world.lease())
        await world.until(lambda: world.office.runner.running == 1)
        world.office.runner.stop(attempt, Outcome.RECLAIMED, WHY)
        await world.until(lambda: world.state(attempt) == AttemptState.RECLAIMED)
        assert deliveries(world) == []

    play(story())


def test_a_cancellation_that_a_crash_undid_is_obeyed_after_the_restart(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=prefix(2))
        lease = world.lease()
        attempt = world.begin(lease)
        await world.until(lambda: world.office.runner.running == 1)
        ask = Cancel(world.client.head(world.desk.did, parent=lease.id), lease.id, row(world, attempt).job)
        cancel = world.client.sign(ask)
        world.office.order(lease.id, cancel.envelope)  # committed; the node is gone before it acts
        assert row(world, attempt).deadline_ms <= world.now
        assert world.office.order(lease.id, cancel.envelope) != [], "said again, it is acted on"

    play(story())
