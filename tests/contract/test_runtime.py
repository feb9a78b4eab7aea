"""What every `Runtime` must do, whichever it is. The same tests for processes, containers and gVisor; real workers."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import zlib
from pathlib import Path

import pytest

from gpufair.protocol.errors import PeerError
from gpufair.protocol.frames import (
    VERSION,
    Accepting,
    Cancel,
    Done,
    Failed,
    Hello,
    Ready,
    Run,
    Stop,
)
from gpufair.protocol.messages.market import Isolation
from gpufair.provider.workers.outcome import Failure, PictureResult, WorkerFailedError
from gpufair.provider.workers.pool import Pool
from gpufair.provider.workers.runtime import Variant, WorkerSpec

MODEL = b"m" * 32


class OsRandom:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


@pytest.fixture
def null(tmp_path: Path) -> WorkerSpec:
    models = tmp_path / "models"
    models.mkdir(mode=0o755)
    return WorkerSpec(models=models, memory_bytes=256 << 20, variant=Variant.NULL)


def order(**more):
    return Run(**{"attempt": os.urandom(16), "model": MODEL, "prompt": "a red heart", "seed": 5, "steps": 4,
                  "guidance_milli": 1000, "width": 64, "height": 64, **more})  # fmt: skip


async def greeted(runtime, spec, name):
    worker = await runtime.start(spec, name)
    nonce = os.urandom(16)
    await worker.send(Hello(VERSION, nonce, 1, "auto" if spec.variant is Variant.NULL else "cpu"))
    ready = await worker.receive()
    assert isinstance(ready, Ready), worker.log_tail
    assert ready.nonce == nonce
    return worker


async def until_end(worker):
    frames = []
    while not frames or not isinstance(frames[-1], Done | Failed):
        frames.append(await worker.receive())
        assert frames[-1] is not None, worker.log_tail
    return frames


def test_it_says_what_it_is(opened, kind):
    async def scenario():
        async with opened() as runtime:
            tier = {"process": Isolation.NONE, "docker": Isolation.CONTAINER, "gvisor": Isolation.GVISOR}
            assert runtime.isolation is tier[kind]
            assert len(runtime.worker_image) == 32
            assert runtime.name in ("process", "docker")

    asyncio.run(scenario())


def test_a_worker_from_start_to_kill(opened, null):
    async def scenario():
        async with opened() as runtime:
            worker = await greeted(runtime, null, "w1")
            assert (worker.id, worker.exit, worker.alive) == ("w1", None, True)
            assert [left.worker for left in await runtime.leftovers()] == ["w1"]
            run = order()
            await worker.send(run)
            frames = await until_end(worker)
            assert frames[0] == Accepting(run.attempt)
            assert frames[-1] == Done(run.attempt)
            await worker.kill()
            await worker.kill()
            assert worker.exit is not None
            assert not worker.alive
            assert await worker.receive() is None
            with pytest.raises(PeerError):
                await worker.send(order())
            assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_a_worker_that_is_asked_to_stop_ends_with_zero_and_leaves_nothing(opened, null):
    async def scenario():
        async with opened() as runtime:
            worker = await greeted(runtime, null, "w1")
            await worker.send(order())
            await worker.send(Stop())
            await until_end(worker)
            assert await asyncio.wait_for(worker.receive(), 20) is None
            assert worker.exit is not None
            assert (worker.exit.status, worker.exit.out_of_memory) == (0, False)
            assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_its_exit_status_and_last_words_come_through(opened, null):
    async def scenario():
        async with opened() as runtime:
            worker = await runtime.start(null, "w1")
            await worker.send(Hello(VERSION + 1, b"n" * 16, 1, "auto"))
            assert await asyncio.wait_for(worker.receive(), 20) is None
            assert worker.exit is not None
            assert worker.exit.status == 3
            assert f"protocol {VERSION + 1}" in worker.log_tail

    asyncio.run(scenario())


def test_two_workers_do_not_know_of_each_other(opened, null):
    async def scenario():
        async with opened() as runtime:
            one, two = await asyncio.gather(greeted(runtime, null, "w1"), greeted(runtime, null, "w2"))
            assert {left.worker for left in await runtime.leftovers()} == {"w1", "w2"}
            await one.kill()
            await two.send(order())
            assert isinstance((await until_end(two))[-1], Done)
            await two.kill()

    asyncio.run(scenario())


def test_a_leftover_is_ended_from_outside(opened, null):
    async def scenario():
        async with opened() as runtime:
            worker = await greeted(runtime, null, "w1")
            (leftover,) = await runtime.leftovers()
            await runtime.reap(leftover)
            await runtime.reap(leftover)
            assert await asyncio.wait_for(worker.receive(), 20) is None
            assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_more_than_one_window_goes_either_way(opened, null):
    """Frames that outrun the credit wait, and none is lost: the pipes hold less than is sent here."""

    async def scenario():
        async with opened() as runtime:
            worker = await greeted(runtime, null, "w1")
            for _ in range(2_000):
                await worker.send(Cancel(os.urandom(16)))
            run = order(prompt="é" * 4096, negative_prompt="x" * 8192, steps=500, count=4)
            await worker.send(run)
            frames = await until_end(worker)
            assert frames[-1] == Done(run.attempt)
            assert len(frames) == 2 + 4 * (501 + 2)
            await worker.kill()

    asyncio.run(scenario())


def test_a_cancelled_attempt_ends_and_the_worker_goes_on(opened, null):
    async def scenario():
        async with opened() as runtime:
            pool = Pool(runtime, [null], lambda digest: null.models / digest.hex(), OsRandom())
            cancel = asyncio.Event()
            run = pool.run(order(steps=500, count=64), cancel)
            await anext(run)
            cancel.set()
            with pytest.raises(WorkerFailedError) as caught:
                [event async for event in run]
            assert caught.value.code is Failure.CANCELLED
            assert isinstance([event async for event in pool.run(order())][-1], PictureResult)
            await pool.close()

    asyncio.run(scenario())


@pytest.mark.timeout(180)
def test_a_real_picture(opened, demo):
    """The demo model through the real worker, twice: the same bits, from a warm worker. A missing model fails alone."""

    async def scenario():
        store, digest, root = demo
        spec = WorkerSpec(models=root, memory_bytes=2 << 30, cpu_milli=2000)

        def locate(model):
            return store.path(model) if model == digest else root / "content" / model.hex()

        async with opened() as runtime:
            pool = Pool(runtime, [spec], locate, OsRandom())
            with pytest.raises(WorkerFailedError) as caught:
                await pool.warm(MODEL)
            assert caught.value.code is Failure.MODEL_MISSING
            assert await pool.warm(digest) > 0
            results = []
            for _ in range(2):
                events = [event async for event in pool.run(order(model=digest, guidance_milli=3000))]
                results.append(events[-1])
            assert isinstance(results[0], PictureResult)
            assert results[0] == results[1]
            assert pool.profiles == {results[0].profile}
            assert pool.warm_models == {digest}
            assert size(results[0].png) == (64, 64)
            assert len(set(zlib.decompress(data(results[0].png)))) > 8, "more than one colour"
            await pool.close()

    asyncio.run(scenario())


def size(png: bytes) -> tuple[int, int]:
    return struct.unpack(">II", png[16:24])


def data(png: bytes) -> bytes:
    stream, found = io.BytesIO(png[8:]), b""
    while head := stream.read(8):
        body = stream.read(struct.unpack(">I", head[:4])[0] + 4)[:-4]
        found += body if head[4:] == b"IDAT" else b""
    return found
