"""An attempt outlives its worker: nothing is told twice, what follows is the same, and tries come to an end."""

from __future__ import annotations

import asyncio

import pytest

from gpufair.protocol import limits, trace
from gpufair.protocol.frames import Accepting, State, Step


def told(events):
    """What a caller sees of a picture: its steps and leaves, and the picture itself."""
    steps = [(event.step, event.leaf) for event in events if isinstance(event, Step)]
    return steps, events[-1].png, events[-1].trace_root, events[-1].leaves


def states(events):
    """The states as a caller puts them together: a piece from the beginning begins its state anew."""
    found = {}
    for event in events:
        if isinstance(event, State):
            found[event.step] = (found[event.step] if event.offset else b"") + event.data
    return found


@pytest.mark.parametrize(
    ("how", "workers"),
    [("killed_once", 2), ("hung_once", 2), ("killed_at_the_end", 2), ("killed_after_all", 2), ("refuses_to_go_on", 2)],
)
def test_it_goes_on_from_its_last_state_as_if_nothing_had_happened(how, workers, script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec, times=tools.Times(silence_ms=2_000))
        undisturbed = await tools.collect(pool, tools.order(steps=6, trace=True))
        events = await tools.collect(pool, tools.order(how, steps=6, trace=True))
        assert told(events) == told(undisturbed)
        assert sum(isinstance(event, Accepting) for event in events) == 1
        assert [trace.leaf(step, data) for step, data in states(events).items()] == list(events[-1].leaves)
        assert events[-1].leaf_count == 7
        async with asyncio.timeout(10):
            while pool.busy:  # a lost worker is replaced even if nobody waits for it
                await asyncio.sleep(0.01)
        assert len(set(runtime.started)) == workers
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_a_job_that_kills_worker_after_worker_fails(script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec)
        failed = await tools.failure(pool, tools.order("killed_always", steps=50, trace=True))
        assert (failed.code, len(set(runtime.started))) == (tools.Failure.DIED, limits.WORKER_TRIES_MAX)
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        await pool.close()

    asyncio.run(scenario())


def test_without_a_trace_there_is_nothing_to_go_on_from(script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime(), spec)
        failed = await tools.failure(pool, tools.order("killed_once", steps=6))
        assert failed.code is tools.Failure.DIED
        await pool.close()

    asyncio.run(scenario())


def test_who_cancels_is_not_resumed(script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec, times=tools.Times(silence_ms=1_000))
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, cancel.set)
        failed = await tools.failure(pool, tools.order("hung_once", steps=6, trace=True), cancel)
        assert failed.code is tools.Failure.SILENT
        await asyncio.sleep(0.1)
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        await pool.close()

    asyncio.run(scenario())
