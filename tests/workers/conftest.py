"""Runtimes and images for hostile workers. Real pipes, real engine; nothing of ours is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

import docker
from gpufair.protocol.frames import Run
from gpufair.protocol.messages.market import Isolation
from gpufair.provider.workers.child import Child
from gpufair.provider.workers.outcome import Event, Failure, PictureResult, WorkerFailedError
from gpufair.provider.workers.pidfiles import PidFiles
from gpufair.provider.workers.pool import Pool
from gpufair.provider.workers.process import ProcessWorker
from gpufair.provider.workers.runtime import Leftover, WorkerSpec
from gpufair.provider.workers.times import Times

HERE = Path(__file__).parent
SOURCES = ("hostile.py", "hostile_acts.py", "hostile_states.py", "hostile_wire.py", "hostile_words.py")
MODEL = b"m" * 32
IMPATIENT = Times(start_ms=60_000, silence_ms=3_000)


class OsRandom:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


class ScriptRuntime:
    """Runs hostile.py as a process, which `ProcessRuntime` never would. Its pipes and ends are `ProcessWorker`'s."""

    name = "script"
    isolation = Isolation.NONE
    worker_image = b"h" * 32

    def __init__(self, state: Path, start: str = "") -> None:
        self.start_mode, self.started = start, list[str]()
        self._files = PidFiles(state, "did:test")

    async def start(self, spec: WorkerSpec, worker: str) -> ProcessWorker:
        self.started.append(worker)
        command = [sys.executable, str(HERE / "hostile.py"), self.start_mode]
        child = Child(command, self._files.scratch(worker), {"PATH": os.defpath})
        self._files.note(worker, child.pid)
        return ProcessWorker(child, worker, self._files)

    async def leftovers(self) -> list[Leftover]:
        return self._files.leftovers()

    async def reap(self, leftover: Leftover) -> None:
        self._files.kill(leftover.worker)

    async def close(self) -> None:
        pass


@pytest.fixture
def script_runtime(tmp_path: Path) -> Callable[..., ScriptRuntime]:
    return lambda start="": ScriptRuntime(tmp_path, start)


@pytest.fixture
def spec(tmp_path: Path) -> WorkerSpec:
    models = tmp_path / "models"
    (models / MODEL.hex()).mkdir(parents=True)
    (models / MODEL.hex() / "weights").write_text("heavy")
    return WorkerSpec(models=models, memory_bytes=256 << 20, pids=48)


@pytest.fixture
def tools() -> SimpleNamespace:
    """What the tests of this folder share: a pool over a runtime, one run through it, and its failure."""

    def pool(runtime: Any, *specs: WorkerSpec, times: Times = IMPATIENT, idle_ms: int = 0) -> Pool:
        return Pool(
            runtime, specs, lambda digest: specs[0].models / digest.hex(), OsRandom(), idle_ms=idle_ms, times=times
        )

    def order(prompt: str = "honest", **more: Any) -> Run:
        return Run(**{"attempt": os.urandom(16), "model": MODEL, "prompt": prompt, "seed": 1, "steps": 3,
                      "guidance_milli": 1000, "width": 64, "height": 64, **more})  # fmt: skip

    async def collect(pool: Pool, run: Run, cancel: asyncio.Event | None = None) -> list[Event]:
        return [event async for event in pool.run(run, cancel)]

    async def failure(pool: Pool, run: Run, cancel: asyncio.Event | None = None) -> WorkerFailedError:
        try:
            events = await collect(pool, run, cancel)
        except WorkerFailedError as err:
            return err
        raise AssertionError(f"{run.prompt} went through with {events[-1:]}")

    def is_picture(events: list[Event]) -> bool:
        return isinstance(events[-1], PictureResult) and events[-1].leaf_count == 4

    return SimpleNamespace(
        pool=pool, order=order, collect=collect, failure=failure, is_picture=is_picture, Failure=Failure,
        Failed=WorkerFailedError, Times=Times, MODEL=MODEL, random=OsRandom(),
    )  # fmt: skip


@pytest.fixture(scope="session")
def engine(docker_host: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=docker_host, version="auto", timeout=60)
    yield client
    client.close()


@pytest.fixture(scope="session")
def build(engine: docker.APIClient, base_image: str) -> Iterator[Callable[[str], str]]:
    """Build an image of hostile.py, with more lines in its recipe; gives its id. All are removed at the end."""
    made = list[str]()

    def build(lines: str = "") -> str:
        recipe = f'FROM {base_image}\nCOPY *.py /\nENTRYPOINT ["python3", "-B", "/hostile.py"]\n{lines}\n'
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, data in [("Dockerfile", recipe.encode()), *((n, (HERE / n).read_bytes()) for n in SOURCES)]:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o644
                tar.addfile(entry, io.BytesIO(data))
        archive.seek(0)
        steps = list(engine.build(fileobj=archive, custom_context=True, rm=True, decode=True, network_mode="none"))
        ids = [step["aux"]["ID"] for step in steps if "aux" in step]
        assert ids, steps
        made.append(ids[-1])
        return str(ids[-1])

    yield build
    for image in reversed(made):
        with contextlib.suppress(docker.errors.APIError):  # built twice, or the base of another
            engine.remove_image(image, force=True)


@pytest.fixture(scope="session")
def hostile_image(build: Callable[[str], str]) -> str:
    return build("")
