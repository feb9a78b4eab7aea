"""An attempt outlives its worker: nothing is told twice, what follows is the same, and tries come to an end."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from gpufair.protocol import limits, trace
from gpufair.protocol.frames import STATE, InputRef, State, Step
from gpufair.provider.workers.outcome import Reached, Taken


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
        assert sum(isinstance(event, Taken) for event in events) == 1
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


def test_a_run_to_a_step_ends_with_how_far_it_came(script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime(), spec)
        whole = await tools.collect(pool, tools.order("stretch", steps=6, trace=True))
        first = (await tools.collect(pool, tools.order("stretch", steps=6, trace=True, last_step=2)))[-1]
        assert isinstance(first, Reached)
        assert (first.step, first.leaves) == (2, whole[-1].leaves[:3])
        assert trace.leaf(2, first.state) == first.leaves[-1]
        second = (await on_from(pool, tools, first, last_step=5))[-1]
        assert (second.step, second.leaves) == (5, whole[-1].leaves[2:6]), "from the leaf that it went on from"
        last = (await on_from(pool, tools, second))[-1]
        assert (last.png, last.leaves) == (whole[-1].png, whole[-1].leaves[5:])
        await pool.close()

    asyncio.run(scenario())


def test_one_that_began_from_a_state_outlives_its_worker_too(script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec)
        whole = await tools.collect(pool, tools.order("stretch", steps=6, trace=True))
        first = (await tools.collect(pool, tools.order("stretch", steps=6, trace=True, last_step=3)))[-1]
        last = (await on_from(pool, tools, first, prompt="killed_after_four"))[-1]
        assert (last.png, last.leaves) == (whole[-1].png, whole[-1].leaves[3:])
        assert len(set(runtime.started)) == 2
        await pool.close()

    asyncio.run(scenario())


def test_who_cancels_hears_how_far_it_came(script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime(), spec)
        cancel, events = asyncio.Event(), []

        async def ask():
            async for event in pool.run(tools.order("waits_after_two", steps=6, trace=True), cancel):
                events.append(event)
                if isinstance(event, Step) and event.step == 2:
                    cancel.set()

        with pytest.raises(tools.Failed) as failed:
            await ask()
        assert failed.value.code is tools.Failure.CANCELLED
        assert isinstance(events[-1], Reached)
        assert (events[-1].step, len(events[-1].leaves)) == (2, 3)
        await pool.close()

    asyncio.run(scenario())


async def on_from(pool, tools, far, prompt="stretch", **more):
    """What comes of the same order from where it had come."""
    state = InputRef(STATE, hashlib.sha256(far.state).digest(), len(far.state), far.step)
    run = tools.order(prompt, steps=6, trace=True, first_step=far.step, inputs=(state,), **more)
    return [event async for event in pool.run(run, inputs=[far.state])]


def test_what_was_begun_on_one_runtime_profile_goes_on_on_no_other(script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime(), spec)
        taken = (await tools.collect(pool, tools.order()))[0]
        run = tools.order(attempt=b"a" * 16)
        same = [event async for event in pool.run(run, profile=taken.runtime.digest())]
        assert tools.is_picture(same)
        await pool.close()
        fresh = tools.pool(script_runtime(), spec)
        for warmed in range(2):  # its worker is still to be started, and then it is known
            with pytest.raises(tools.Failed) as failed:
                await anext(fresh.run(tools.order(), profile=b"other" * 6 + b"xx"))
            assert (failed.value.code, failed.value.again) == (tools.Failure.DIED, False), warmed
            assert "same runtime profile" in failed.value.message
        await fresh.close()

    asyncio.run(scenario())
