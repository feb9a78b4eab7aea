"""Attempts at work: whose turn it is, what stops them, and that no work is done that the window does not cover."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import CANARY, MODEL, PICTURE, PROFILE, SHEET, Scripted, World, state

from gpufair.protocol import limits
from gpufair.protocol.envelope import from_bytes, read
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import BidClass, Cancel, Decline, JobEnded, Lock, Outcome, Precision, ReasonCode
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow
from gpufair.provider.workers.outcome import Failure

COLD = b"c" * 32


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def end(world: World, attempt: bytes) -> JobEnded:
    """How an attempt ended, as the client is told."""
    with world.store.read() as rows:
        found = rows.get(AttemptRow, id=attempt)
    assert found is not None
    return from_bytes(found.ended, JobEnded).doc


def deliveries(world: World) -> list[DeliveryRow]:
    with world.store.read() as rows:
        return rows.all(DeliveryRow, order="picture")


def test_in_the_order_of_acceptance_one_at_a_time(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        attempts = [world.begin(world.lease()) for _ in range(3)]
        runner = world.office.runner
        await world.until(lambda: world.workers.started == attempts[:1])
        assert (runner.running, runner.waiting) == (1, 2)
        world.workers.gate.set()
        await world.until(lambda: not world.office.busy())
        assert world.workers.started == attempts
        assert [world.state(a) for a in attempts] == [AttemptState.DELIVERED] * 3

    play(story())


def test_the_better_bid_first_and_on_demand_before_interruptible(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        first = world.begin(world.lease())
        full, spot = SHEET.per_step_megapixel, BidClass.INTERRUPTIBLE
        cheap, fair = (world.begin(world.lease(bid_class=spot, rate=full * share // 10)) for share in (4, 9))
        demand, raised = (world.begin(world.lease(rate=rate, window=2 * PICTURE)) for rate in (full, full + 1))
        world.workers.gate.set()
        await world.until(lambda: not world.office.busy())
        assert world.workers.started == [first, raised, demand, fair, cheap]

    play(story())


def test_as_many_at_once_as_there_are_workers(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(size=2))
        for _ in range(3):
            world.begin(world.lease())
        await world.until(lambda: world.office.runner.running == 2)
        assert world.office.runner.waiting == 1
        await world.office.stop(settle=False)

    play(story())


def test_jobs_of_several_leases_share_a_worker_if_their_precision_lets_them(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        shared = [world.begin(world.lease(), precision=Precision.SINGLE) for _ in range(3)]
        alone = world.begin(world.lease())
        runner = world.office.runner
        await world.until(lambda: world.workers.started == shared)
        late = world.begin(world.lease(), precision=Precision.SINGLE)
        await world.until(lambda: world.workers.started == [*shared, late])
        assert (runner.running, runner.waiting) == (4, 1)
        world.workers.gate.set()
        await world.until(lambda: not world.office.busy())
        assert world.workers.started == [*shared, late, alone]
        assert [run.precision for run in world.workers.runs] == ["single"] * 4 + ["exact"]
        assert {world.state(a) for a in (*shared, late, alone)} == {AttemptState.DELIVERED}

    play(story())


def test_a_warm_model_goes_before_a_cold_one(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.workers.warm_models = frozenset({MODEL})
        first = world.begin(world.lease())
        cold = world.begin(world.lease(model=COLD), model=COLD)
        warm = [world.begin(world.lease()) for _ in range(limits.PASSES_MAX + 1)]
        world.workers.gate.set()
        await world.until(lambda: not world.office.busy())
        assert world.workers.started == [first, *warm[:-1], cold, warm[-1]]

    play(story())


def test_a_delivered_picture_has_its_trace_and_a_failed_one_none(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease = world.lease()
        world.workers.fail = Failure.DIED
        world.workers.gate.set()
        failed, made = world.begin(world.lease()), world.begin(lease)
        await world.until(lambda: not world.office.busy())
        assert (world.state(failed), world.state(made)) == (AttemptState.FAILED, AttemptState.DELIVERED)
        (delivery,) = deliveries(world)
        kept = world.office._traces.open(lease.id, delivery.job, 0)
        assert kept is not None
        assert b"".join(kept.leaves) == delivery.leaves
        assert [kept.state(step) for step in range(len(kept.leaves))] == [
            state(0, step) for step in range(len(kept.leaves))
        ]
        assert kept.profile == PROFILE
        assert len(list((tmp_path / "traces").iterdir())) == 1
        world.now += limits.AUDIT_WINDOW_MS + 1
        world.office.forget()
        assert list((tmp_path / "traces").iterdir()) == []

    play(story())


def test_a_model_is_expected_once_its_lease_is_paid_for(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.agreed()
        assert world.workers.prefetched == [], "a bid costs nothing: it moves no model"
        world.lease()
        assert world.workers.prefetched == [MODEL]

    play(story())


def test_a_picture_waits_at_the_window_until_it_is_paid(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.workers.gate.set()
        lease = world.lease()
        attempt = world.begin(lease, count=2)
        await world.until(lambda: len(deliveries(world)) == 1)
        await asyncio.sleep(0.05)
        assert len(world.workers.runs) == 1, "the second is not begun"
        (first,) = deliveries(world)
        world.pay(lease, 0, Lock(PICTURE, first.hashlock))
        await world.until(lambda: world.state(attempt) == AttemptState.DELIVERED)
        assert [d.revealed for d in deliveries(world)] == [True, False]
        assert [run.first_picture for run in world.workers.runs] == [0, 1]

    play(story())


def test_one_job_of_a_lease_at_a_time_however_many_workers_there_are(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(size=2), unpaid_ms=40)
        lease, other = world.lease(), world.lease()
        first, second = world.begin(lease), world.begin(lease)
        runner = world.office.runner
        await world.until(lambda: world.workers.started == [first])
        world.now += 60
        world.office.perform(world.office.attempts.tick())
        assert world.state(second) == AttemptState.QUEUED, "nothing is unpaid: it waits"
        third = world.begin(other)
        await world.until(lambda: world.workers.started == [first, third])
        assert (runner.running, runner.waiting) == (2, 1)
        world.workers.gate.set()
        await world.until(lambda: world.state(first) == world.state(third) == AttemptState.DELIVERED)
        await asyncio.sleep(0.02)
        assert world.state(second) == AttemptState.QUEUED
        paid = next(d for d in deliveries(world) if d.attempt == first)
        world.pay(lease, 0, Lock(PICTURE, paid.hashlock))
        await world.until(lambda: world.state(second) == AttemptState.DELIVERED)

    play(story())


def test_who_owes_a_picture_takes_no_worker_from_others(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", unpaid_ms=40)
        world.workers.gate.set()
        lease = world.lease()
        owed = world.begin(lease)
        await world.until(lambda: world.state(owed) == AttemptState.DELIVERED)
        more = [world.begin(lease) for _ in range(5)]
        honest = world.begin(world.lease())
        await world.until(lambda: world.state(honest) == AttemptState.DELIVERED)
        assert world.workers.started == [owed, honest]
        world.now += 41
        world.office.perform(world.office.attempts.tick())
        assert [world.state(a) for a in more] == [AttemptState.EXPIRED] * 5
        assert end(world, more[0]).reasons[0].code is ReasonCode.UNPAID
        _, order, _ = world.job(lease)
        (said,) = world.office.order(lease.id, order.envelope)
        declined = read(said.message.envelope, Decline).doc
        assert [reason.code for reason in declined.reasons] == [ReasonCode.UNPAID]
        assert world.office.runner.waiting == 0

    play(story())


def test_unpaid_for_too_long_it_expires(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", unpaid_ms=40)
        world.workers.gate.set()
        attempt = world.begin(world.lease(), count=2)
        await world.until(lambda: len(deliveries(world)) == 1)
        world.now += 39
        world.office.perform(world.office.attempts.tick())
        assert world.state(attempt) == AttemptState.RUNNING
        world.now += 2
        world.office.perform(world.office.attempts.tick())
        assert world.state(attempt) == AttemptState.EXPIRED
        await world.until(lambda: not world.office.busy())
        said = end(world, attempt)
        assert said.outcome is Outcome.EXPIRED
        (reason,) = said.reasons
        assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.UNPAID, 41, 40)
        await world.until(lambda: not world.office.busy())

    play(story())


@pytest.mark.parametrize("when", ["waiting", "running", "at the window"])
def test_a_cancelled_job_stops(tmp_path: Path, when: str) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease = world.lease()
        if when == "waiting":
            world.begin(world.lease())
        attempt = world.begin(lease, count=2)
        if when == "at the window":
            world.workers.gate.set()
            await world.until(lambda: len(deliveries(world)) == 1)
        else:
            await world.until(lambda: world.office.runner.running == 1)
        with world.store.read() as rows:
            job = rows.get(AttemptRow, id=attempt).job
        cancel = world.client.sign(Cancel(world.client.head(world.desk.did, parent=lease.id), lease.id, job))
        world.office.perform(world.office.order(lease.id, cancel.envelope))
        await world.until(lambda: world.state(attempt) == AttemptState.CANCELLED)
        await world.until(lambda: world.office.runner.running == (when == "waiting"))
        assert world.office.runner.waiting == 0
        # What was done of the picture by then is sold.
        assert [d.step for d in deliveries(world)] == {"waiting": [], "running": [1], "at the window": [0]}[when]
        assert end(world, attempt).outcome is Outcome.CANCELLED
        # Saying it again changes nothing.
        world.office.perform(world.office.order(lease.id, cancel.envelope))
        await world.office.stop(settle=False)

    play(story())


def test_a_job_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        attempt = world.begin(world.lease(), deadline_ms=50)
        await world.until(lambda: world.state(attempt) == AttemptState.EXPIRED)
        await world.until(lambda: not world.office.busy())
        assert [d.step for d in deliveries(world)] == [1], "what was done by then is sold"
        assert end(world, attempt).reasons[0].code is ReasonCode.EXPIRED

    play(story())


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure.DIED, ReasonCode.WORKER_GONE),
        (Failure.LIED, ReasonCode.WORKER_FAILED),
        (Failure.OUT_OF_MEMORY, ReasonCode.MEMORY_SHORT),
        (Failure.GPU_MISSING, ReasonCode.GPU_MISSING),
    ],
)
def test_a_worker_that_fails_fails_its_attempt_alone(
    tmp_path: Path, failure: Failure, code: ReasonCode, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.workers.fail = failure
        first, second = (world.begin(world.lease()) for _ in range(2))
        world.workers.gate.set()
        await world.until(lambda: not world.office.busy())
        assert (world.state(first), world.state(second)) == (AttemptState.FAILED, AttemptState.DELIVERED)
        said = end(world, first)
        assert (said.outcome, said.reasons[0].code, said.reasons[0].detail) == (Outcome.FAILED, code, "it broke")

    play(story())
    assert "an owner's secret" in caplog.text, "the worker's own words are for the owner"


def test_a_body_that_does_not_open_fails_the_job(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        attempt = world.begin(world.lease(), sealed=bytes(200))
        await world.until(lambda: world.state(attempt) == AttemptState.FAILED)
        assert end(world, attempt).reasons[0].code is ReasonCode.BODY_WRONG
        assert world.workers.runs == [], "no worker hears of it"

    play(story())


def test_prompts_are_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.workers.fail = Failure.INTERNAL
        world.workers.gate.set()
        for _ in range(2):
            world.begin(world.lease())
        await world.until(lambda: not world.office.busy())
        assert all(run.prompt == CANARY for run in world.workers.runs), "only the worker gets it"
        world.store.close()

    play(story())
    assert CANARY not in caplog.text
    for path in tmp_path.glob("jobs.db*"):
        assert CANARY.encode() not in path.read_bytes(), path
