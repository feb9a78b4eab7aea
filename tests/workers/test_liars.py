"""A worker that lies, dies or sulks: the caller gets a typed failure, and the next run a new worker.

Here hostile.py runs as a plain process, because these misdeeds are in what it says; test_hostile.py does the others.
"""

from __future__ import annotations

import asyncio

import pytest

from gpufair.protocol import limits

LIES = {
    "oversized": "the limit is",
    "endless_prefix": "the limit is",
    "garbage": "protobuf",
    "unknown_kind": "unknown kind",
    "wrong_side": "wrong side",
    "wrong_attempt": "no attempt under way",
    "unaccepted": "before the attempt was accepted",
    "accepted_twice": "twice",
    "skipped_step": "step 2 came where step 1 was due",
    "repeated_step": "step 0 came where step 1 was due",
    "one_step_more": "step 4 of 3",
    "other_picture": "picture 1 where picture 0 was due",
    "uninvited_preview": "was not asked for",
    "early_picture": "after 0 steps",
    "too_long": "can't have that many",
    "gap": "bytes from 11, 10 are here",
    "overrun": "more bytes than it said",
    "changed_total": "length changes",
    "short_picture": "10 bytes of a picture",
    "no_png": "no PNG",
    "wrong_digest": "digest is not the one",
    "wrong_root": "root is not over the leaves",
    "wrong_count": "3 leaves stated, 4 sent",
    "nothing_done": "done after 0 of 1",
    "forged_credit": "gives back more credit",
    "reloaded": "no attempt under way",
    "log_flood": "status -9",
    "truncated": "ends inside a frame",
    "uninvited_state": "not asked for",
}

STATE_LIES = {
    "stateless": "without its whole state",
    "half_state": "without its whole state",
    "wrong_state": "not that of its state",
    "odd_state": "no 32-bit floats",
    "endless_state": "more bytes than it said",
    "swelling_state": "length changes",
    "huge_state": "this picture can have",
    "gap_in_state": "bytes from 16, 8 are here",
    "skipped_state": "step 2 came where step 1 was due",
    "late_state": "step 4 of 3",
    "state_in_picture": "after the picture's bytes began",
    "skipped_step": "step 2 came where step 1 was due",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_ends_the_worker_and_only_that_one(lie, script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec)
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        failed = await tools.failure(pool, tools.order(lie))
        assert failed.code is (tools.Failure.DIED if lie == "log_flood" else tools.Failure.LIED)
        assert LIES[lie] in failed.message
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        assert len(set(runtime.started)) == 2
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("lie", STATE_LIES)
def test_a_lie_about_a_state_is_not_tried_again(lie, script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec)
        failed = await tools.failure(pool, tools.order(lie, trace=True))
        assert failed.code is tools.Failure.LIED
        assert STATE_LIES[lie] in failed.message
        assert tools.is_picture(await tools.collect(pool, tools.order(trace=True)))
        assert len(set(runtime.started)) == 2
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("short_stretch", "done after step 1, it was to go to step 2"),
        ("long_stretch", "step 3 of 2"),
        ("stretch_with_picture", "a picture after 2 steps"),
    ],
)
def test_a_run_to_a_step_ends_there(lie, said, script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime(), spec)
        failed = await tools.failure(pool, tools.order(lie, steps=6, trace=True, last_step=2))
        assert (failed.code, said in failed.message) == (tools.Failure.LIED, True), failed
        await pool.close()

    asyncio.run(scenario())


def test_states_for_strangers_end_a_worker_and_then_the_attempt(script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec)
        failed = await tools.failure(pool, tools.order("strange_state", trace=True))
        assert (failed.code, len(set(runtime.started))) == (tools.Failure.LIED, limits.WORKER_TRIES_MAX)
        assert "no attempt under way" in failed.message
        await pool.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("how", "code"), [("dies", "DIED"), ("closes", "DIED"), ("silent", "SILENT")])
def test_a_worker_that_goes_is_replaced(how, code, script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec, times=tools.Times(silence_ms=1_500))
        failed = await tools.failure(pool, tools.order(how))
        assert failed.code is tools.Failure[code]
        if how == "dies":
            assert "status 7" in failed.message
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


STARTS = {
    "never_ready": "SILENT",
    "exits": "START",
    "wrong_nonce": "LIED",
    "other_version": "START",
    "claims_gpu": "LIED",
    "speaks_first": "LIED",
}


@pytest.mark.parametrize("start", STARTS)
def test_a_worker_that_starts_wrong_is_a_typed_failure(start, script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime(start)
        pool = tools.pool(runtime, spec, times=tools.Times(start_ms=1_500))
        failed = await tools.failure(pool, tools.order())
        assert failed.code is tools.Failure[STARTS[start]]
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_words_that_nobody_asked_for_are_a_lie(script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime("unasked"), spec)
        failed = await tools.failure(pool, tools.order())
        assert failed.code is tools.Failure.LIED
        assert "no attempt under way" in failed.message
        await pool.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("start", ["", "no_device"])
def test_a_gpu_that_the_worker_does_not_see_fails_the_run(start, script_runtime, spec, tools):
    async def scenario():
        wanting = type(spec)(models=spec.models, memory_bytes=spec.memory_bytes, gpu="GPU-1234")
        pool = tools.pool(script_runtime(start), wanting)
        failed = await tools.failure(pool, tools.order())
        assert failed.code is tools.Failure.GPU_MISSING
        assert failed.reason.name == "GPU_MISSING"
        await pool.close()

    asyncio.run(scenario())


def test_who_ignores_credit_is_cut_off_while_the_caller_pauses(script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime(), spec)
        run = pool.run(tools.order("flood", steps=2_000))
        seen = [await anext(run)]
        while pool._places[0].warm.worker.alive:  # the caller's pause: a worker that waits for credit would wait now
            await asyncio.sleep(0.02)
        with pytest.raises(Exception, match="credit of") as caught:
            seen += [event async for event in run]
        assert caught.value.code is tools.Failure.LIED
        assert len(seen) < 600, "no more was taken in than one window holds"
        await pool.close()

    asyncio.run(scenario())


def test_a_worker_that_ignores_cancel_is_ended(script_runtime, spec, tools):
    async def scenario():
        runtime = script_runtime()
        pool = tools.pool(runtime, spec, times=tools.Times(silence_ms=1_000))
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, cancel.set)
        failed = await tools.failure(pool, tools.order("disobedient", steps=400), cancel)
        assert failed.code is tools.Failure.SILENT
        assert "did not stop" in failed.message
        assert tools.is_picture(await tools.collect(pool, tools.order()))
        await pool.close()
        assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_what_a_worker_writes_can_not_reach_a_terminal(script_runtime, spec, tools):
    async def scenario():
        pool = tools.pool(script_runtime(), spec)
        failed = await tools.failure(pool, tools.order("talks_to_log"))
        assert failed.code is tools.Failure.INTERNAL
        assert "told the log" in failed.message
        assert "red" in failed.log
        assert all(c.isprintable() or c == "\n" for c in failed.message + failed.log)
        await pool.close()

    asyncio.run(scenario())
