"""Several attempts at one worker: who may be there together, and that none of them is at another's mercy."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gpufair.protocol import limits
from gpufair.protocol.frames import Measure, Measured, Replay, Replayed
from gpufair.provider.workers.outcome import PictureResult, WorkerFailedError
from gpufair.provider.workers.places import Wish, needed
from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Variant, WorkerSpec

LONG = {"steps": 400, "count": 20, "precision": "single"}


@pytest.fixture
def null(spec):
    return WorkerSpec(models=spec.models, memory_bytes=spec.memory_bytes, variant=Variant.NULL)


@pytest.fixture
def runtime(tmp_path: Path):
    return ProcessRuntime("did:test", tmp_path)


class Begun:
    """A run under way, whose caller takes all that comes at once."""

    def __init__(self, pool, run, cancel=None):
        self.events, self._started = [], asyncio.Event()
        self.task = asyncio.create_task(self._take(pool, run, cancel))

    async def _take(self, pool, run, cancel):
        async for event in pool.run(run, cancel):
            self.events.append(event)
            self._started.set()

    async def at_work(self):
        await asyncio.wait(
            {self.task, waits := asyncio.create_task(self._started.wait())}, return_when="FIRST_COMPLETED"
        )
        waits.cancel()
        return self

    async def pictures(self):
        await self.task
        return pictures(self.events)

    async def leave(self):
        self.task.cancel()
        await asyncio.wait({self.task})


async def begun(pool, run, cancel=None):
    return await Begun(pool, run, cancel).at_work()


async def paused(pool, run):
    """A run under way whose caller does not ask on: it holds its place."""
    events = pool.run(run)
    await anext(events)
    return events


def pictures(events):
    return sum(isinstance(event, PictureResult) for event in events)


def test_single_ones_share_a_worker_and_an_exact_one_has_it_alone(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        most = limits.WORKER_BATCH_MAX
        runs = [Begun(pool, tools.order(**LONG)) for _ in range(most)]
        (place,) = pool._places
        await runs[0].at_work()
        assert place.guests == most
        exact = asyncio.create_task(tools.collect(pool, tools.order(precision="exact")))
        late = asyncio.create_task(tools.collect(pool, tools.order(precision="single")))
        await asyncio.sleep(0.05)
        assert place.guests == most
        assert [await run.pictures() for run in runs] == [20] * most
        assert tools.is_picture(await exact)
        assert tools.is_picture(await late)
        assert len(await runtime.leftovers()) == 1
        await pool.close()

    asyncio.run(scenario())


def test_an_exact_one_is_not_passed_for_ever(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        holder = await begun(pool, tools.order(**LONG))
        order = []

        async def one(name, **more):
            await tools.collect(pool, tools.order(**more))
            order.append(name)

        first = asyncio.create_task(one("exact", precision="exact"))
        await asyncio.sleep(0)
        others = [asyncio.create_task(one("single", precision="single")) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not order, "who could join waits behind the one who can't"
        assert await holder.pictures() == 20
        await asyncio.gather(first, *others)
        assert order[0] == "exact"
        await pool.close()

    asyncio.run(scenario())


def test_models_do_not_share_a_place(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null, null)
        first = await paused(pool, tools.order(**LONG))
        second = await paused(pool, tools.order(**LONG, model=b"o" * 32))
        assert [place.guests for place in pool._places] == [1, 1]
        third = Begun(pool, tools.order(**LONG))
        await asyncio.sleep(0.02)
        assert [place.guests for place in pool._places] == [2, 1], "where its model is"
        await third.leave()
        for run in (first, second):
            await run.aclose()
        await pool.close()

    asyncio.run(scenario())


def test_cancelling_or_leaving_one_leaves_the_others(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        cancel = asyncio.Event()
        staying = await begun(pool, tools.order(**LONG))
        cancelled = Begun(pool, tools.order(**LONG), cancel)
        left = Begun(pool, tools.order(**LONG))
        await asyncio.sleep(0.02)
        cancel.set()
        await left.leave()
        assert await staying.pictures() == 20
        with pytest.raises(WorkerFailedError) as caught:
            await cancelled.task
        assert caught.value.code is tools.Failure.CANCELLED
        async with asyncio.timeout(5):
            while pool.busy:
                await asyncio.sleep(0.01)
        assert len(await runtime.leftovers()) == 1
        await pool.close()

    asyncio.run(scenario())


def test_a_caller_that_stops_asking_loses_its_attempt_when_others_wait(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null, times=tools.Times(silence_ms=500))
        idle = pool.run(tools.order(**LONG))
        await anext(idle)
        busy = Begun(pool, tools.order(**LONG))
        assert await busy.pictures() == 20
        with pytest.raises(WorkerFailedError, match="others waited") as caught:
            [event async for event in idle]
        assert caught.value.code is tools.Failure.CANCELLED
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        assert len(await runtime.leftovers()) == 1, "the worker is not to blame"
        await pool.close()

    asyncio.run(scenario())


def test_a_lost_worker_fails_all_that_was_under_way(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        runs = [await begun(pool, tools.order(**LONG)), Begun(pool, tools.order(**LONG))]
        await asyncio.sleep(0.02)
        (left,) = await runtime.leftovers()
        await runtime.reap(left)
        for run in runs:
            with pytest.raises(WorkerFailedError) as caught:
                await run.task
            assert caught.value.code in (tools.Failure.DIED, tools.Failure.LIED)
            assert caught.value.again
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        await pool.close()

    asyncio.run(scenario())


def test_a_worker_that_hangs_is_silent_for_all_that_was_under_way(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null, times=tools.Times(silence_ms=600))
        runs = [await begun(pool, tools.order(**LONG)), Begun(pool, tools.order(**LONG))]
        await asyncio.sleep(0.02)
        (left,) = await runtime.leftovers()
        os.kill(int(left.handle), signal.SIGSTOP)
        for run in runs:
            with pytest.raises(WorkerFailedError) as caught:
                await asyncio.wait_for(run.task, 10)
            assert (caught.value.code, caught.value.again) == (tools.Failure.SILENT, True)
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_a_worker_without_work_may_be_silent(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null, times=tools.Times(silence_ms=300))
        for _ in range(2):
            assert tools.is_picture(await tools.collect(pool, tools.order()))
            (worker,) = await runtime.leftovers()
            await asyncio.sleep(1)
            assert await runtime.leftovers() == [worker]
        await pool.close()

    asyncio.run(scenario())


def test_how_many_places_wishes_need():
    exact, single, other = Wish(b"m"), Wish(b"m", shares=True), Wish(b"o", shares=True)
    most = limits.WORKER_BATCH_MAX
    assert [needed(wishes) for wishes in ([], [exact] * 2, [single] * most, [single] * (most + 1))] == [0, 2, 1, 2]
    assert needed([exact, single, single, other]) == 3


def test_questions_are_answered_one_at_a_time(script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec)
        replay, measure = Replay(tools.order(), 2), Measure(tools.order(), 3)
        answers = await asyncio.gather(pool.ask(replay), pool.ask(measure, [b"x" * 100_000]))
        assert answers == [
            Replayed(replay.run.attempt, 1, 2, 3), Measured(measure.run.attempt, 1, 2, 3, 4, 5, 6, 7),
        ]  # fmt: skip
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        assert len(runtime.started) == 1
        await pool.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("how", "code"), [("another answer", "LIED"), ("no answer", "INTERNAL"), ("death", "DIED")])
def test_a_question_without_an_answer(how, code, script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime(), spec)
        for question in (Replay(tools.order(how), 0), Measure(tools.order(how), 1)):
            with pytest.raises(WorkerFailedError) as caught:
                await pool.ask(question)
            assert caught.value.code is tools.Failure[code]
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        await pool.close()

    asyncio.run(scenario())


def test_a_model_is_fetched_ahead_where_nobody_works(runtime, null, tools):
    async def scenario():
        other = b"o" * 32
        pool = tools.pool(runtime, null, null)
        first = await paused(pool, tools.order(**LONG))
        pool.prefetch(other)
        async with asyncio.timeout(10):
            while other not in pool.warm_models:
                await asyncio.sleep(0.01)
        assert pool.warm_models == {tools.MODEL, other}
        second = await paused(pool, tools.order(**LONG, model=other))
        pool.prefetch(b"p" * 32)  # no place is idle
        await asyncio.sleep(0.1)
        assert pool.warm_models == {tools.MODEL, other}
        await second.aclose()
        assert pictures([event async for event in first]) == 20
        await pool.close()

    asyncio.run(scenario())
