"""A worker that is killed in the middle of a picture, whichever runtime it is in: the demo model, for real."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os

import numpy as np
import pytest
from PIL import Image

from gpufair.protocol import trace
from gpufair.protocol.frames import IMAGE, IMAGE_TO_IMAGE, InputRef, Run, State, Step
from gpufair.provider.workers.outcome import Taken
from gpufair.provider.workers.pool import Pool
from gpufair.provider.workers.runtime import WorkerSpec

# The pool is the same for all runtimes, and gVisor is slow: what it adds is seen in the long run.
SLOW = [pytest.param(name, marks=pytest.mark.long) for name in ("docker", "gvisor")]

STEPS = 6
KILLED_AFTER = 3


class OsRandom:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


def order(digest, prompt, precision, scheduler="unipc", **more):
    return Run(
        attempt=os.urandom(16), model=digest, prompt=prompt, seed=5, steps=STEPS, guidance_milli=3000, width=64,
        height=64, scheduler=scheduler, precision=precision, trace=True, **more,
    )  # fmt: skip


class Made:
    """A run, and what its caller was told. After `kill_after` steps the worker is killed from outside."""

    def __init__(self, pool, run, runtime=None, inputs=()):
        self.told = []
        self.task = asyncio.create_task(self._make(pool, run, runtime, inputs))

    async def _make(self, pool, run, runtime, inputs):
        async for event in pool.run(run, inputs=inputs):
            self.told.append(event)
            if runtime is not None and isinstance(event, Step) and event.step == KILLED_AFTER:
                for leftover in await runtime.leftovers():
                    await runtime.reap(leftover)
                runtime = None

    async def result(self):
        await self.task
        assert [event.step for event in self.told if isinstance(event, Step)] == list(range(STEPS + 1))
        assert sum(isinstance(event, Taken) for event in self.told) == 1
        result = self.told[-1]
        assert [event.leaf for event in self.told if isinstance(event, Step)] == list(result.leaves)
        assert trace.root(result.leaves) == result.trace_root
        assert [trace.leaf(step, state) for step, state in self._states().items()] == list(result.leaves)
        return result

    def _states(self):
        states = {}
        for event in self.told:
            if isinstance(event, State):
                states[event.step] = (states[event.step] if event.offset else b"") + event.data
        return states


@pytest.fixture
def pooled(opened, demo):
    """Play a scenario with a pool of one worker."""
    store, digest, root = demo
    spec = WorkerSpec(models=root, memory_bytes=2 << 30, cpu_milli=2000)

    def play(scenario):
        async def whole():
            async with opened() as runtime:
                pool = Pool(runtime, [spec], store.path, OsRandom())
                await scenario(pool, runtime, digest)
                await pool.close()

        asyncio.run(whole())

    return play


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("kind", "scheduler"),
    [
        # As a process it is proved below, with a picture that the order begins from.
        pytest.param("process", "unipc", marks=pytest.mark.long),
        pytest.param("process", "euler_ancestral", marks=pytest.mark.long),
        ("docker", "unipc"),
        pytest.param("gvisor", "unipc", marks=pytest.mark.long),
    ],
    indirect=["kind"],
)
def test_an_exact_picture_is_the_same_to_the_bit(kind, pooled, scheduler):
    """One scheduler that carries tensors on, and one that draws noise in every step."""
    del kind

    async def scenario(pool, runtime, digest):
        undisturbed = await Made(pool, order(digest, "a red heart", "exact", scheduler)).result()
        disturbed = await Made(pool, order(digest, "a red heart", "exact", scheduler), runtime).result()
        assert disturbed == undisturbed
        assert "DIED" in pool.last_error or "ends inside a frame" in pool.last_error

    pooled(scenario)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["process", *SLOW], indirect=True)
def test_what_began_from_a_picture_goes_on_with_it(kind, pooled):
    del kind

    async def scenario(pool, runtime, digest):
        image = io.BytesIO()
        Image.new("RGB", (64, 64), (200, 30, 30)).save(image, "PNG")
        png = image.getvalue()
        begun_from = InputRef(IMAGE, hashlib.sha256(png).digest(), len(png))

        def run():
            return order(digest, "a red heart", "exact", task=IMAGE_TO_IMAGE, skip=4, inputs=(begun_from,))

        undisturbed = await Made(pool, run(), inputs=(png,)).result()
        disturbed = await Made(pool, run(), runtime, inputs=(png,)).result()
        assert disturbed == undisturbed

    pooled(scenario)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["process", *SLOW], indirect=True)
def test_two_that_shared_the_worker_both_go_on(kind, pooled):
    del kind

    async def scenario(pool, runtime, digest):
        await pool.warm(digest)
        prompts = ("a red heart", "a blue circle")
        made = [await Made(pool, order(digest, prompt, "single")).result() for prompt in prompts]
        lost = [Made(pool, order(digest, prompt, "single"), runtime) for prompt in prompts]
        place = pool._places[0]
        while not all(one.told for one in lost):
            await asyncio.sleep(0.001)
        assert place.guests == 2
        for one, undisturbed in zip(lost, made, strict=True):
            result = await one.result()
            assert result.leaf_count == undisturbed.leaf_count
            assert np.abs(pixels(result) - pixels(undisturbed)).max() <= 1, (
                "the company changes no more than a last bit"
            )

    pooled(scenario)


def pixels(result):
    return np.asarray(Image.open(io.BytesIO(result.png)), dtype=np.int16)
