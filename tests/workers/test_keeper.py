"""The keeper's promises: a model is warm again without a job, never at a job's cost, and tries come to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gpufair.provider.workers.keeper import Keeper, Pace
from gpufair.provider.workers.outcome import PictureResult
from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Variant, WorkerSpec

FAST = Pace(look_ms=20, rests=(0, 1, 2), steady=5)


@pytest.fixture
def null(spec):
    return WorkerSpec(models=spec.models, memory_bytes=spec.memory_bytes, variant=Variant.NULL)


@asynccontextmanager
async def keeping(pool, wanted, quiet=lambda: True, pace=FAST):
    task = asyncio.create_task(Keeper(pool, lambda: list(wanted), quiet, pace).run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await pool.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def test_a_killed_worker_is_replaced_without_a_job(null, tools, tmp_path: Path):
    async def scenario():
        runtime = ProcessRuntime("did:test", tmp_path)
        pool = tools.pool(runtime, null)
        async with keeping(pool, [tools.MODEL]):
            for _ in range(3):
                await until(lambda: tools.MODEL in pool.warm_models)
                (left,) = await runtime.leftovers()
                await asyncio.sleep(0.2)  # steady: what happened before is forgotten
                await runtime.reap(left)
                await until(lambda: not pool.warm_models)
            await until(lambda: tools.MODEL in pool.warm_models)

    asyncio.run(scenario())


def test_models_that_come_go_and_come_back(null, tools, tmp_path: Path):
    async def scenario():
        other, wanted = b"o" * 32, list[bytes]()
        pool = tools.pool(ProcessRuntime("did:test", tmp_path), null)
        async with keeping(pool, wanted):
            await asyncio.sleep(0.1)
            assert not pool.warm_models
            wanted[:] = [tools.MODEL]
            await until(lambda: tools.MODEL in pool.warm_models)
            wanted[:] = [other]
            await until(lambda: other in pool.warm_models)
            wanted[:] = [tools.MODEL, other]
            await asyncio.sleep(0.1)
            assert pool._places[0].warm.models[-1] == other, "one that is on sale is warm: nothing to do"

    asyncio.run(scenario())


def test_nothing_is_begun_while_a_job_runs_or_waits(null, tools, tmp_path: Path):
    async def scenario():
        other, quiet = b"o" * 32, [False]
        pool = tools.pool(ProcessRuntime("did:test", tmp_path), null, null)
        run = pool.run(tools.order(steps=50))
        await anext(run)
        async with keeping(pool, [other], lambda: quiet[0]):
            quiet[0] = True  # a place is taken, even if no job is known to run
            await asyncio.sleep(0.2)
            assert pool.warm_models == {tools.MODEL}
            quiet[0] = False
            events = [event async for event in run]
            assert isinstance(events[-1], PictureResult)
            await asyncio.sleep(0.2)
            assert pool.warm_models == {tools.MODEL}
            quiet[0] = True
            await until(lambda: other in pool.warm_models)

    asyncio.run(scenario())


def test_tries_end_and_begin_again_with_other_models(script_runtime, spec, tools, caplog):
    async def scenario():
        runtime = script_runtime("exits")
        wanted = [tools.MODEL]
        pool = tools.pool(runtime, spec)
        async with keeping(pool, wanted):
            await until(lambda: "the next job tries again" in caplog.text)
            await until(lambda: not pool.busy)
            began = len(runtime.started)
            await asyncio.sleep(0.3)
            assert len(runtime.started) == began
            wanted.append(b"o" * 32)
            await until(lambda: len(runtime.started) > began)

    asyncio.run(scenario())


def test_a_worker_that_dies_at_once_each_time_is_given_up(null, tools, tmp_path: Path):
    async def scenario():
        runtime = ProcessRuntime("did:test", tmp_path)
        pool = tools.pool(runtime, null)
        async with keeping(pool, [tools.MODEL], pace=Pace(look_ms=20, rests=(0, 0, 0), steady=10_000)):
            for _ in range(3):
                await until(lambda: tools.MODEL in pool.warm_models)
                for left in await runtime.leftovers():
                    await runtime.reap(left)
                await until(lambda: not pool.warm_models)
            await asyncio.sleep(0.5)
            assert not pool.warm_models
            assert tools.is_picture(await tools.collect(pool, tools.order())), "a job still has its worker"

    asyncio.run(scenario())
