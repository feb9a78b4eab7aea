"""Workers that are held for somebody: loaded ahead, closed to others, replaced when lost. Null workers throughout."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Variant, WorkerSpec

ANN, BOB = b"a" * 32, b"b" * 32


@pytest.fixture
def null(spec):
    return WorkerSpec(models=spec.models, memory_bytes=spec.memory_bytes, variant=Variant.NULL)


def play(tmp_path, tools, null, story, *, size=2):
    async def scenario():
        pool = tools.pool(ProcessRuntime("did:test", tmp_path), *[null] * size)
        try:
            await asyncio.wait_for(story(pool), 30)
        finally:
            await pool.close()

    asyncio.run(scenario())


def held(pool, holder=ANN):
    return next(place for place in pool._places if place.holder == holder)


async def loaded(pool, model, holder=ANN):
    async with asyncio.timeout(20):
        while not (held(pool, holder).holds(model) and held(pool, holder).empty):
            await asyncio.sleep(0.005)


async def run(pool, order, holder=b""):
    async with contextlib.aclosing(pool.run(order, holder=holder)) as events:
        return [event async for event in events]


def test_a_model_is_loaded_and_others_are_kept_out(tmp_path, tools, null):
    async def story(pool):
        pool.hold(ANN, tools.MODEL)
        await loaded(pool, tools.MODEL)
        assert (pool.free, pool.busy) == (1, 1)
        await asyncio.gather(*(run(pool, tools.order(attempt=bytes([n]) * 16), holder=BOB) for n in range(3)))
        worker = held(pool).warm
        others = [place for place in pool._places if place.holder != ANN]
        assert others[0].warm is not None, "they all went to the other, cold as it was"
        assert await run(pool, tools.order(attempt=b"x" * 16), holder=ANN)
        assert held(pool).warm is worker
        pool.release(ANN)
        assert pool.free == 2

    play(tmp_path, tools, null, story)


def test_its_holder_passes_whoever_waits(tmp_path, tools, null):
    async def story(pool):
        pool.hold(ANN, tools.MODEL)
        waiting = asyncio.create_task(run(pool, tools.order(attempt=b"w" * 16)))
        await asyncio.sleep(0)
        assert await run(pool, tools.order(attempt=b"x" * 16), holder=ANN)
        assert not waiting.done(), "there is no other place"
        pool.release(ANN)
        assert await waiting

    play(tmp_path, tools, null, story, size=1)


def test_a_place_that_others_are_at_is_changed_for_one_that_is_empty(tmp_path, tools, null):
    async def story(pool):
        async with contextlib.AsyncExitStack() as stack:
            guests = [
                await stack.enter_async_context(contextlib.aclosing(pool.run(tools.order(attempt=bytes([n]) * 16))))
                for n in range(2)
            ]
            for guest in guests:
                await anext(guest)
            pool.hold(ANN, tools.MODEL)
            first = held(pool)
            assert first.has_strangers
            pool.hold(ANN, tools.MODEL)
            assert held(pool) is first, "there is no better one"
            other = next(place for place in pool._places if place is not first)
            # Whoever is at the other one leaves first.
            leaving = guests[0] if pool._places[0] is other else guests[1]
            async for _ in leaving:
                pass
            async with asyncio.timeout(10):
                while not other.empty:
                    await asyncio.sleep(0.005)
            pool.hold(ANN, tools.MODEL)
            assert held(pool) is other
            assert sum(bool(place.holder) for place in pool._places) == 1

    play(tmp_path, tools, null, story)


def test_a_held_worker_that_is_lost_is_replaced(tmp_path, tools, null):
    async def story(pool):
        pool.hold(ANN, tools.MODEL)
        await loaded(pool, tools.MODEL)
        await held(pool).warm.kill()
        assert not held(pool).holds(tools.MODEL)
        for _ in range(3):  # it is said again and again, and one load at a time is enough
            pool.hold(ANN, tools.MODEL)
        await loaded(pool, tools.MODEL)

    play(tmp_path, tools, null, story, size=1)
