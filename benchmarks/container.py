"""What a wall around a worker costs at its start. ONE RULE: both containers are of one image, on one engine, in
turns.

Ours: a worker's container with everything that hardens it, checked after it was made, from the request until the
worker inside has answered Hello. The peer: plain `docker run` of the same image and program, until the same answer.
Then: a first job, from no container to a picture, against the second one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from time import perf_counter

from benchmarks import machine
from benchmarks.rows import Row, Samples
from benchmarks.running import NotHereError, Options, say
from gpufair.protocol import frames
from gpufair.protocol.edge.system import SystemRandom
from gpufair.provider.models.store import ModelStore
from gpufair.provider.workers.docker import DockerRuntime
from gpufair.provider.workers.outcome import PictureResult
from gpufair.provider.workers.pool import Pool
from gpufair.provider.workers.runtime import Variant, WorkerSpec

TIMES = 1.2
ROOT = Path(__file__).resolve().parents[1]
NULL = ["-m", Variant.NULL.value]
NONCE = bytes(16)


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    host, image = engine()
    with machine.watched() as state:
        ours, made, peer, plain = asyncio.run(_starts(options, host, image))
    detail = {"ours_ms": ours.summary(), "docker_run_ms": peer.summary(), "machine": state}
    met = ours.median <= TIMES * peer.median
    yield Row("container", ours.median, peer.median, "ms", f"≤ {TIMES:g}x docker run", met, detail)
    detail = {"ours_ms": made.summary(), "plain_ms": plain.summary()}
    yield Row("container.engine", made.median, plain.median, "ms", detail=detail)
    with machine.watched() as state:
        first, second = asyncio.run(_jobs(options, host, image))
    detail = {"first_ms": first.summary(), "second_ms": second.summary(), "machine": state}
    yield Row("container.second_job", second.median, first.median, "ms", detail=detail)


def engine() -> tuple[str, str]:
    """The tests' private engine and its worker image: those that are named already, else `script/engine up`."""
    names = ("GPUFAIR_TEST_DOCKER_HOST", "GPUFAIR_TEST_WORKER_IMAGE")
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    if len(found) < len(names):
        say("container: bringing up the private engine and the worker image")
        done = subprocess.run([str(ROOT / "script" / "engine"), "up"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotHereError(done.stderr.strip()[-300:])
        words = [word for line in done.stdout.splitlines() for word in shlex.split(line)[1:]]
        found = dict(word.split("=", 1) for word in words)
    return found[names[0]], found[names[1]]


async def _starts(options: Options, host: str, image: str) -> tuple[Samples, Samples, Samples, Samples]:
    runtime = await DockerRuntime.connect(node="benchmark", image=image, host=host)
    spec = WorkerSpec(models=_models(options.folder), memory_bytes=1 << 30, variant=Variant.NULL)
    times: list[tuple[float, float, float, float]] = []
    rounds = options.rounds(20, 3)
    try:
        for number in range(rounds + 1):
            ours, made = await _ours(runtime, spec)
            peer = await asyncio.to_thread(_docker_run, host, image)
            plain = await asyncio.to_thread(_plain, host, image)
            if number:  # the first one warmed the page cache for all
                times.append((ours, made, peer, plain))
    finally:
        await runtime.close()
    ours_, made_, peer_, plain_ = zip(*times, strict=True)
    return Samples(ours_), Samples(made_), Samples(peer_), Samples(plain_)


async def _ours(runtime: DockerRuntime, spec: WorkerSpec) -> tuple[float, float]:
    start = perf_counter()
    worker = await runtime.start(spec, SystemRandom().bytes(8).hex())
    made = perf_counter()
    await worker.send(frames.Hello(frames.VERSION, NONCE, 1, "auto"))
    ready = await worker.receive()
    end = perf_counter()
    await worker.kill()
    assert isinstance(ready, frames.Ready)
    return (end - start) * 1000, (made - start) * 1000


def _docker_run(host: str, image: str) -> float:
    plain = ["docker", "-H", host, "run", "--rm", "-i", "--network", "none", "--entrypoint", "python", image, *NULL]
    start = perf_counter()
    with subprocess.Popen(plain, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frames.encode(frames.Hello(frames.VERSION, NONCE, 1, "auto")))
        process.stdin.flush()
        decoder = frames.FrameDecoder()
        while not (found := decoder.feed(os.read(process.stdout.fileno(), 65536))):
            pass
        end = perf_counter()
        process.stdin.close()
        process.wait(30)
    assert isinstance(found[0], frames.Ready)
    return (end - start) * 1000


def _plain(host: str, image: str) -> float:
    """Create and start a plain container by the same SDK until the engine says that it runs."""
    import docker

    api = docker.APIClient(base_url=host)
    with contextlib.closing(api):
        start = perf_counter()
        container = api.create_container(image, entrypoint=["python", *NULL], stdin_open=True, network_disabled=True)
        api.start(container)
        took = (perf_counter() - start) * 1000
        api.remove_container(container, force=True)
    return took


async def _jobs(options: Options, host: str, image: str) -> tuple[Samples, Samples]:
    first: list[float] = []
    second: list[float] = []
    models = _models(options.folder)
    store = ModelStore(options.folder / "models")
    model = store.add(Path(str(files("gpufair.provider.models"))) / "demo", name="demo").digest
    for _ in range(options.rounds(3, 1)):
        runtime = await DockerRuntime.connect(node="benchmark", image=image, host=host)
        pool = Pool(runtime, (WorkerSpec(models=models, memory_bytes=4 << 30),), store.path, SystemRandom())
        try:
            first.append(await _picture(pool, model, 1))
            second.append(await _picture(pool, model, 2))
        finally:
            await pool.close()
            await runtime.close()
    return Samples(first), Samples(second)


async def _picture(pool: Pool, model: bytes, seed: int) -> float:
    run = frames.Run(
        attempt=hashlib.sha256(b"%d" % seed).digest()[:16], model=model, prompt="red apple", seed=seed, steps=20,
        guidance_milli=2500, width=64, height=64, scheduler="ddim",
    )  # fmt: skip
    start = perf_counter()
    async with contextlib.aclosing(pool.run(run)) as events:
        async for event in events:
            if isinstance(event, PictureResult):
                return (perf_counter() - start) * 1000
    raise RuntimeError("the worker made no picture")


def _models(folder: Path) -> Path:
    models = folder / "models" / "content"
    models.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return models
