"""The pool's promises to an honest caller: warm, in turn, cancellable, nothing left behind. Null workers throughout."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gpufair.protocol.frames import Preview, Step
from gpufair.provider.workers.outcome import PictureResult, Taken, WorkerFailedError
from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Variant, WorkerSpec


@pytest.fixture
def null(spec):
    return WorkerSpec(models=spec.models, memory_bytes=spec.memory_bytes, variant=Variant.NULL)


@pytest.fixture
def runtime(tmp_path: Path):
    class Counting(ProcessRuntime):
        starts = 0
        under_way = 0
        takes = 0.0

        async def start(self, spec, worker):
            self.starts += 1
            self.under_way += 1
            try:
                await asyncio.sleep(self.takes)  # an engine takes its time
                return await super().start(spec, worker)
            finally:
                self.under_way -= 1

    return Counting("did:test", tmp_path)


def test_one_worker_serves_many_runs(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        assert (pool.profiles, pool.warm_models) == (frozenset(), frozenset())
        results = []
        for picture in range(4):
            events = await tools.collect(pool, tools.order(first_picture=picture))
            assert isinstance(events[0], Taken)
            assert [e.step for e in events if isinstance(e, Step)] == [0, 1, 2, 3]
            results.append(events[-1])
        assert [result.index for result in results] == [0, 1, 2, 3]
        assert runtime.starts == 1
        assert pool.profiles == {results[0].profile}
        assert pool.warm_models == {tools.MODEL}
        assert (pool.size, pool.free, pool.busy) == (1, 1, 0)
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_several_pictures_in_one_run(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        events = await tools.collect(pool, tools.order(count=3, first_picture=5))
        assert [e.index for e in events if isinstance(e, PictureResult)] == [5, 6, 7]
        assert not [e for e in events if isinstance(e, Preview)]
        await pool.close()

    asyncio.run(scenario())


def test_a_bad_request_fails_alone_and_the_worker_lives(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        failed = await tools.failure(pool, tools.order(width=63))
        assert failed.code is tools.Failure.BAD_REQUEST
        assert "63" in failed.message
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        assert runtime.starts == 1
        await pool.close()

    asyncio.run(scenario())


def test_attempts_wait_their_turn_and_share_two_places(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null, null)
        runs = [asyncio.create_task(tools.collect(pool, tools.order())) for _ in range(8)]
        for events in await asyncio.gather(*runs):
            assert tools.is_picture(events)
        assert runtime.starts <= 2
        assert pool.free == 2
        await pool.close()

    asyncio.run(scenario())


def test_the_place_that_holds_the_model_is_preferred(runtime, null, tools, spec):
    async def scenario():
        other = b"o" * 32
        pool = tools.pool(runtime, null, null)
        first = pool.run(tools.order(model=other))
        await anext(first)  # holds one place, so that the second model goes to the other
        await tools.collect(pool, tools.order())
        assert [event async for event in first]
        for _ in range(3):
            await tools.collect(pool, tools.order())
            await tools.collect(pool, tools.order(model=other))
        holding = [place.warm.models for place in pool._places]
        assert sorted(holding) == [[tools.MODEL], [other]]
        await pool.close()

    asyncio.run(scenario())


def test_cancel_before_the_turn_comes(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        holder = pool.run(tools.order())
        await anext(holder)
        cancel = asyncio.Event()
        waiting = asyncio.create_task(tools.failure(pool, tools.order(), cancel))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        cancel.set()
        assert (await asyncio.wait_for(waiting, 5)).code is tools.Failure.CANCELLED
        assert [event async for event in holder][-1].index == 0
        # The place was not lost to the one who left.
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        await pool.close()

    asyncio.run(scenario())


def test_cancel_in_the_middle(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        cancel = asyncio.Event()
        run = pool.run(tools.order(steps=500, count=60), cancel)
        await anext(run)
        cancel.set()
        with pytest.raises(WorkerFailedError) as caught:
            [event async for event in run]
        assert caught.value.code is tools.Failure.CANCELLED
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        assert runtime.starts == 1
        await pool.close()

    asyncio.run(scenario())


def test_leaving_early_frees_the_worker(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        run = pool.run(tools.order(steps=500, count=60))
        await anext(run)
        await run.aclose()
        assert tools.is_picture(await asyncio.wait_for(tools.collect(pool, tools.order()), 20))
        assert runtime.starts == 1, "it was heard out, not killed"
        await pool.close()

    asyncio.run(scenario())


def test_leaving_early_tells_the_worker_to_stop(script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec)
        run = pool.run(tools.order("slow", steps=400))
        await anext(run)
        await run.aclose()
        # Forty seconds of work were left.
        assert tools.is_picture(await asyncio.wait_for(tools.collect(pool, tools.order()), 15))
        assert len(runtime.started) == 1
        await pool.close()

    asyncio.run(scenario())


def test_a_turn_that_is_not_taken_goes_to_the_next(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        holder = pool.run(tools.order())
        await anext(holder)
        first, second = (asyncio.create_task(tools.collect(pool, tools.order())) for _ in range(2))
        await asyncio.sleep(0.05)
        assert [event async for event in holder]
        first.cancel()  # its turn has come, and it has not run yet
        assert tools.is_picture(await asyncio.wait_for(second, 10))
        await pool.close()

    asyncio.run(scenario())


def test_a_caller_that_is_cancelled_frees_the_worker(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        await pool.warm(tools.MODEL)
        for patience in (0.0, 0.001, 0.003, 0.01):
            task = asyncio.create_task(tools.collect(pool, tools.order(steps=500, count=60)))
            await asyncio.sleep(patience)
            task.cancel()
            await asyncio.wait({task})
        assert tools.is_picture(await asyncio.wait_for(tools.collect(pool, tools.order()), 20))
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_not_pulling_stops_the_worker_within_one_window(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null, times=tools.Times(silence_ms=2_000))
        run = pool.run(tools.order(steps=500, count=20))
        await anext(run)
        await asyncio.sleep(2.5)  # longer than the silence that would end a worker: pausing is no silence
        worker = pool._places[0].warm.worker
        assert len(worker._channel._frames) * 60 <= 32 * 1024
        events = [event async for event in run]
        assert sum(isinstance(event, PictureResult) for event in events) == 20
        await pool.close()

    asyncio.run(scenario())


def test_an_idle_worker_is_let_go(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null, idle_ms=200)
        await tools.collect(pool, tools.order())
        assert len(await runtime.leftovers()) == 1
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not await runtime.leftovers():
                break
        assert await runtime.leftovers() == []
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        assert (runtime.starts, pool.free) == (2, 1)
        await pool.close()

    asyncio.run(scenario())


def test_a_worker_killed_while_idle_is_replaced_without_a_failure(runtime, null, tools):
    async def scenario():
        pool = tools.pool(runtime, null)
        await tools.collect(pool, tools.order())
        (left,) = await runtime.leftovers()
        await runtime.reap(left)
        await asyncio.sleep(0.1)
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        assert runtime.starts == 2
        await pool.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("delay", "takes"), [(0.0, 0.0), (0.02, 0.0), (0.2, 0.0), (0.1, 0.3), (0.0, 0.1)])
def test_close_leaves_nothing_whenever_it_comes(delay, takes, runtime, null, tools):
    async def scenario():
        runtime.takes = takes
        pool = tools.pool(runtime, null, null)
        tasks = [asyncio.create_task(tools.failure(pool, tools.order(steps=500, count=64))) for _ in range(4)]
        await asyncio.sleep(delay)
        await pool.close()
        assert runtime.under_way == 0
        assert await runtime.leftovers() == []
        for failed in await asyncio.wait_for(asyncio.gather(*tasks), 20):
            assert failed.code is tools.Failure.CLOSED
        assert await runtime.leftovers() == []
        assert (await tools.failure(pool, tools.order())).code is tools.Failure.CLOSED

    asyncio.run(scenario())


def test_reap_ends_what_an_earlier_daemon_left(runtime, null, tools):
    async def scenario():
        await runtime.start(null, "abandoned")
        pool = tools.pool(runtime, null)
        assert await pool.reap() == 1
        assert await pool.reap() == 0
        assert await runtime.leftovers() == []
        await pool.close()

    asyncio.run(scenario())
