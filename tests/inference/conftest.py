"""Real workers as processes, driven over their pipes as a node would, and the real demo model."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import pytest

from gpufair.protocol.frames import (
    VERSION,
    Done,
    Failed,
    Frame,
    FrameLink,
    FromWorker,
    Hello,
    Input,
    InputRef,
    Load,
    Loaded,
    LoadFailed,
    OutputChunk,
    OutputEnd,
    Ready,
    Run,
    State,
    Step,
)
from gpufair.protocol.limits import OUTPUT_CHUNK
from gpufair.provider.models.store import ModelStore

sys.path.insert(0, str(Path(__file__).parent))  # for what several test files share

TORCH = "gpufair.provider.inference"
NULL = "gpufair.provider.inference.null"
PATIENCE_S = 60.0


@dataclass
class Worker:
    """One worker process and the node's end of its pipe."""

    process: subprocess.Popen[bytes]
    stderr: Path
    link: FrameLink = field(default_factory=FrameLink.of_node)
    early: deque[FromWorker] = field(default_factory=deque)
    greeting: FromWorker | None = None

    def send(self, frame: Frame) -> None:
        """Send a frame."""
        self.link.send(frame)
        self.flush()

    def send_raw(self, data: bytes) -> None:
        """Send bytes that may be no frames."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def flush(self) -> None:
        """Write what is due."""
        self.send_raw(self.link.outgoing())

    def read(self) -> bytes:
        """Whatever comes next; empty at the end. Fails the test when nothing comes for a long time."""
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        assert select.select([handle], [], [], PATIENCE_S)[0], "the worker is silent"
        return os.read(handle, 65536)

    def until(self, *kinds: type) -> list[FromWorker]:
        """All frames up to the first one of these kinds, that one last."""
        got: list[FromWorker] = []
        while not (got and isinstance(got[-1], kinds)):
            if self.early:
                got.append(self.early.popleft())
                continue
            data = self.read()
            assert data, f"the worker is gone after {got[-1:]}: {self.stderr.read_text()}"
            arrived = self.link.feed(data)
            self.early += cast("list[FromWorker]", arrived)
            self.link.consumed(len(arrived))
            # A worker that was told to stop may be gone before our credit for its last frames arrives.
            with contextlib.suppress(BrokenPipeError):
                self.flush()
        return got

    def run(self, run: Run, *inputs: bytes) -> list[FromWorker]:
        """One attempt to its end, its inputs sent before."""
        for index, data in enumerate(inputs):
            for offset in range(0, len(data), OUTPUT_CHUNK):
                piece = data[offset : offset + OUTPUT_CHUNK]
                self.send(Input(run.attempt, index, offset, len(data), piece))
        self.send(run)
        return self.until(Done, Failed)

    def exit_code(self) -> int:
        """Wait for the end of the process."""
        return self.process.wait(PATIENCE_S)


@dataclass(frozen=True)
class Demo:
    """The demo model in a store."""

    digest: bytes
    path: str

    def run(self, **changes: Any) -> Run:
        """A quick, sensible attempt with it, some settings changed."""
        settings: dict[str, Any] = {"prompt": "a fox on a green background", "seed": 1, "steps": 4}
        settings |= {"guidance_milli": 3000, "width": 64, "height": 64, "attempt": os.urandom(16), "model": self.digest}
        return Run(**(settings | changes))


def named(kind: str, data: bytes, step: int = 0) -> InputRef:
    """An input as a Run names it."""
    return InputRef(kind, hashlib.sha256(data).digest(), len(data), step)


class Pictures:
    """What a node gathers from the frames of an attempt."""

    def __init__(self, got: list[FromWorker]) -> None:
        self.ends = [frame for frame in got if isinstance(frame, OutputEnd)]
        self.png = {
            end.picture: b"".join(f.data for f in got if isinstance(f, OutputChunk) and f.picture == end.picture)
            for end in self.ends
        }
        self.leaves = {
            end.picture: [f.leaf for f in got if isinstance(f, Step) and f.picture == end.picture] for end in self.ends
        }
        self.states: dict[tuple[int, int], bytes] = {}
        for frame in got:
            if isinstance(frame, State):
                key = frame.picture, frame.step
                assert len(self.states.setdefault(key, b"")) == frame.offset
                self.states[key] += frame.data


@pytest.fixture(scope="session")
def pictures() -> type[Pictures]:
    """The gatherer of pictures."""
    return Pictures


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo model, in a store of its own."""
    store = ModelStore(tmp_path_factory.mktemp("models"))
    digest = store.add(Path(str(files("gpufair.provider.models") / "demo"))).digest
    return Demo(digest, str(store.path(digest)))


@pytest.fixture(scope="session")
def siblings(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> list[Demo]:
    """Four models that have text encoder and VAE in common, and each a denoiser of its own."""
    from safetensors.torch import load_file, save_file

    root, made = tmp_path_factory.mktemp("siblings"), []
    store = ModelStore(root / "store")
    for number in range(4):
        folder = root / str(number)
        shutil.copytree(demo.path, folder, copy_function=shutil.copyfile)
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        tensors = load_file(weights)
        tensors["conv_in.bias"] += number
        weights.unlink()
        save_file(tensors, weights)
        digest = store.add(folder).digest
        shutil.rmtree(folder)
        made.append(Demo(digest, str(store.path(digest))))
    return made


Start = Callable[..., Worker]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts workers; ends them all."""
    workers: list[Worker] = []

    def begin(module: str = TORCH, *, greet: bool = True, **hello: Any) -> Worker:
        log = tmp_path_factory.mktemp("worker") / "stderr"
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("wb"),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        worker = Worker(process, log)
        workers.append(worker)
        if greet:
            worker.send(Hello(VERSION, b"n" * 16, 1, "auto", **hello))
            [worker.greeting] = worker.until(Ready)
        return worker

    yield begin
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


@pytest.fixture(scope="session")
def shared(start: Start, demo: Demo) -> Worker:
    """A warm torch worker that tests share; they must leave it alive."""
    return loaded(start(), demo)


def loaded(worker: Worker, demo: Demo) -> Worker:
    """The worker, with the demo model in memory."""
    worker.send(Load(demo.digest, demo.path))
    assert isinstance(worker.until(Loaded, LoadFailed)[-1], Loaded)
    return worker


@pytest.fixture(scope="session")
def spares() -> list[Worker]:
    """Workers that tests may harm; the last one may still live."""
    return []


@pytest.fixture
def spare(spares: list[Worker], start: Start, demo: Demo) -> Worker:
    """A warm torch worker that a test may harm or end."""
    if not spares or spares[-1].process.poll() is not None:
        spares.append(start())
    return loaded(spares[-1], demo)


@pytest.fixture
def warm(shared: Worker) -> Iterator[Worker]:
    """The shared worker, checked to be alive afterwards."""
    yield shared
    assert shared.process.poll() is None, shared.stderr.read_text()
