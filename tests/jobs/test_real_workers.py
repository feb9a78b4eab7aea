"""Real workers under the jobs room: what one provider was stopped at, another one finishes, to the same bits."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "paced"))

from office_world import World
from paced_runtime import PacedRuntime

from gpufair.protocol import sealing
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import (
    Bid,
    Input,
    InputKind,
    Lock,
    Outcome,
    Progress,
    Reason,
    ReasonCode,
    Receipt,
    Scheduler,
)
from gpufair.provider.jobs.store import DeliveryRow
from gpufair.provider.models.store import ModelStore
from gpufair.provider.workers.pool import Pool
from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Runtime, WorkerSpec

PRICE = 10**9
"""More than any job here costs: the window of a lease that sells pictures whole."""


class OsRandom:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 120))


class Shop:
    """A provider with workers of its own, and what it has delivered."""

    def __init__(self, world: World) -> None:
        self.world = world

    def lease(self, *, model: bytes, **_terms: Any) -> Signed[Bid]:
        """One under which pictures may be sold whole."""
        return self.world.lease(window=PRICE, cap=10 * PRICE, model=model)

    @property
    def deliveries(self) -> list[DeliveryRow]:
        with self.world.store.read() as rows:
            return sorted(rows.all(DeliveryRow), key=lambda d: (d.picture, d.step or 999))

    async def bought(self, lease: Signed[Bid], number: int) -> tuple[Receipt, bytes, list[bytes]]:
        """Pay for a delivery; its receipt, what its key opens, its leaves."""
        await self.world.until(lambda: len(self.deliveries) > number, 60)
        before = sum(one.amount for one in self.deliveries[:number])
        made = self.deliveries[number]
        self.world.pay(lease, before, Lock(made.amount, made.hashlock))
        made = self.deliveries[number]
        assert made.revealed
        leaves = [made.leaves[at : at + 32] for at in range(0, len(made.leaves), 32)]
        return from_bytes(made.receipt, Receipt).doc, sealing.decrypt_output(made.cipher, made.key), leaves


@asynccontextmanager
async def workers(runtime: Runtime, spec: WorkerSpec, store: ModelStore | None = None) -> AsyncIterator[Pool]:
    """A pool of one; without a store every model is at hand, as for null workers."""
    pool = Pool(runtime, [spec], store.path if store else lambda _digest: spec.models, OsRandom())
    try:
        yield pool
    finally:
        await pool.close()
        assert await runtime.leftovers() == []


@asynccontextmanager
async def shop(folder: Path, pool: Pool) -> AsyncIterator[Shop]:
    """A provider with these workers."""
    folder.mkdir()
    world = World(folder / "jobs.db", workers=pool)
    try:
        yield Shop(world)
    finally:
        await world.office.stop(settle=False)


async def whole(one: Shop, **terms: Any) -> tuple[Receipt, bytes, list[bytes]]:
    """A picture in one go."""
    lease = one.lease(**terms)
    one.world.begin(lease, **terms)
    return await one.bought(lease, len(one.deliveries))


async def stopped(one: Shop, after: int, **terms: Any) -> tuple[Receipt, bytes, list[bytes]]:
    """The checkpoint of a picture whose machine is taken back once so many steps were told."""
    lease, place = (
        one.world.lease(window=PRICE, cap=10 * PRICE, model=terms.get("model", b"m" * 32)),
        len(one.deliveries),
    )
    async with one.world.stream(lease) as line:
        attempt = one.world.begin(lease, **terms)
        await one.world.until(lambda: any(isinstance(m, Progress) and m.step == after for m in line.got), 60)
        one.world.office.runner.stop(attempt, Outcome.RECLAIMED, Reason(ReasonCode.RECLAIMED))
        await one.world.until(lambda: one.world.state(attempt) == AttemptState.RECLAIMED, 60)
    return await one.bought(lease, place)


async def resumed(one: Shop, far: Receipt, state: bytes, **terms: Any) -> tuple[Receipt, bytes, list[bytes]]:
    """What another provider makes of it."""
    given = (Input(InputKind.STATE, state),)
    return await whole(one, done=far.last_step, inputs=given, **terms)


async def unbroken(first: Shop, second: Shop, after: int, **terms: Any) -> tuple[bytes, list[bytes]]:
    """A picture in one go, and one that changes its provider, are the same; the picture and its leaves."""
    _, png, leaves = await whole(second, **terms)
    far, state, begun = await stopped(first, after, **terms)
    assert after <= far.last_step < terms["steps"], "it ended at a step, not far from where it was stopped"
    assert begun == leaves[: far.last_step + 1]
    told, same, rest = await resumed(second, far, state, **terms)
    assert rest == leaves[far.last_step :]
    assert same == png
    assert (told.first_step, told.leaf_count) == (far.last_step, len(rest))
    spent = far.increment + told.increment
    assert spent == second.deliveries[0].amount, "together they cost what one picture costs"
    return png, leaves


def test_null_workers_that_take_their_time(tmp_path: Path) -> None:
    async def story() -> None:
        spec = WorkerSpec(models=tmp_path, memory_bytes=256 << 20)
        one, two = (PacedRuntime("did:test", tmp_path / name, pace_ms=5) for name in ("one", "two"))
        async with (
            workers(one, spec) as mine, workers(two, spec) as yours,
            shop(tmp_path / "mine", mine) as first, shop(tmp_path / "yours", yours) as second,
        ):  # fmt: skip
            await unbroken(first, second, after=7, steps=60, model=b"m" * 32)

    play(story())


def test_a_state_that_is_not_this_pictures_is_refused_as_such(tmp_path: Path) -> None:
    async def story() -> None:
        spec = WorkerSpec(models=tmp_path, memory_bytes=256 << 20)
        async with workers(PacedRuntime("did:test", tmp_path, 0), spec) as pool, shop(tmp_path / "shop", pool) as one:
            lease = one.lease(model=b"m" * 32)
            given = (Input(InputKind.STATE, bytes(32)),)
            attempt = one.world.begin(lease, model=b"m" * 32, steps=5, done=2, inputs=given)
            await one.world.until(lambda: one.world.state(attempt) == AttemptState.FAILED, 30)
            assert one.world.ended(attempt).reasons[0].code is ReasonCode.CHECKPOINT_WRONG
            assert one.deliveries == []

    play(story())


async def in_pieces(one: Shop, every: int, **terms: Any) -> list[tuple[Receipt, bytes, list[bytes]]]:
    """The deliveries of a picture that is sold in pieces."""
    lease, place = one.lease(**terms), len(one.deliveries)
    attempt = one.world.begin(lease, checkpoint_every=every, **terms)
    made = []
    while one.world.state(attempt) != AttemptState.PAID:
        made.append(await one.bought(lease, place + len(made)))
        await asyncio.sleep(0)
    return made


@pytest.mark.timeout(180)
def test_the_demo_model_stopped_here_and_finished_there(tmp_path: Path) -> None:
    """UniPC carries four tensors from step to step. A worker that both use: two of them cost the test its time."""

    async def story() -> None:
        store = ModelStore(tmp_path / "models")
        digest = store.add(Path(str(files("gpufair.provider.models") / "demo"))).digest
        spec = WorkerSpec(models=tmp_path / "models", memory_bytes=2 << 30)
        terms: dict[str, Any] = {"model": digest, "steps": 6, "side": 64, "scheduler": Scheduler.UNIPC}
        async with (
            workers(ProcessRuntime("did:test", tmp_path), spec, store) as pool,
            shop(tmp_path / "first", pool) as first, shop(tmp_path / "second", pool) as second,
        ):  # fmt: skip
            plain = await unbroken(first, second, after=2, **terms)
            made = await in_pieces(first, 4, **terms)
            assert [told.last_step for told, _, _ in made] == [4, 6]
            assert made[-1][1:] == plain, "in pieces it is the same picture, too"

    play(story())
