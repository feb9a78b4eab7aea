"""What holding several models in memory is worth. ONE RULE: a real worker as a process, asked over its pipe.

`residency`: the next picture's model is another, and both are in memory, against loading it from disk: from the order
to the answer, files hashed again on the cold side as always. `residency.jobs`: bytes by which a worker's memory
grows with each of many jobs in a row, on four models under a budget that holds two. `residency.shared`: what a second
model that shares text encoder and VAE takes, against what it weighs alone. On a GPU the same, with the card's budget.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.rows import Row, Samples
from benchmarks.running import Options, say

DEMO = Path(str(files("gpufair.provider") / "models" / "demo"))
MODELS, ROOMY = 4, 2**33
SLOPE_KIB = 64.0


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    models = _siblings(options.folder)
    rounds, jobs = options.rounds(30, 4), options.rounds(200, 12)
    with machine.watched() as state:
        with Worker(ROOMY) as roomy:
            first = roomy.load(*models[0])
            cold = [roomy.load(*model) for model in models[1:]]
            warm = Samples([roomy.load(*models[number % 2]).took_ms for number in range(rounds)])
            weight, grown = cold[0].size, cold[0].resident - first.resident
        with Worker(cold[0].size * 2) as narrow:
            # Two denoisers and what they share fit; each load of a third is a cold one, in a process that is warm.
            loads = Samples([narrow.load(*models[number % MODELS]).took_ms for number in range(rounds)][2:])
            used = []
            for number in range(jobs):
                model = models[number * 7 // 3 % MODELS]
                narrow.load(*model)
                narrow.picture(model[0])
                used.append(narrow.resident / 1024)
    detail = {"device": narrow.device, "machine": state, "warm_ms": warm.summary(), "cold_ms": loads.summary()}
    yield Row("residency", warm.median, loads.median, "ms/switch", None, None, detail)
    settled = used[len(used) // 4 :]
    slope = statistics.linear_regression(range(len(settled)), settled).slope
    yield Row("residency.jobs", slope, None, "KiB/job", f"≤ {SLOPE_KIB:g} either way", abs(slope) <= SLOPE_KIB,
              {"jobs": jobs, "resident_kib_min": min(settled), "resident_kib_max": max(settled)})  # fmt: skip
    yield Row("residency.shared", grown / 2**20, weight / 2**20, "MiB")


def _siblings(folder: Path) -> list[tuple[bytes, Path]]:
    """Models that share text encoder and VAE, and have denoisers of their own, in a store."""
    from safetensors.torch import load_file, save_file

    from gpufair.provider.models.store import ModelStore

    store, made = ModelStore(folder / "store"), []
    for number in range(MODELS):
        copy = folder / str(number)
        shutil.copytree(DEMO, copy, copy_function=shutil.copyfile)
        weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
        tensors = load_file(weights)
        tensors["conv_in.bias"] += number
        weights.unlink()
        save_file(tensors, weights)
        digest = store.add(copy).digest
        shutil.rmtree(copy)
        made.append((digest, store.path(digest)))
    return made


class Loading:
    """A load: milliseconds by our clock, bytes of weights, and the worker's memory afterwards."""

    def __init__(self, took_ms: float, size: int, resident: int) -> None:
        self.took_ms, self.size, self.resident = took_ms, size, resident


class Worker:
    """A worker process with a budget for weights, of one thread on a CPU, or on the GPU where torch sees one."""

    def __init__(self, weights_bytes: int) -> None:
        from gpufair.protocol.frames import VERSION, FrameLink, Hello, Ready

        self._process = subprocess.Popen(
            [sys.executable, "-m", "gpufair.provider.inference"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._link = FrameLink.of_node()
        self._early: list[Any] = []
        say("a worker starts")
        self._send(Hello(VERSION, bytes(16), 1, "auto", weights_bytes=weights_bytes))
        self.device = self._until(Ready).profile.device_kind

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def resident(self) -> int:
        """Bytes of memory that the process has."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def load(self, digest: bytes, folder: Path) -> Loading:
        """Have a model in memory."""
        from gpufair.protocol.frames import Load, Loaded

        start = perf_counter()
        self._send(Load(digest, str(folder)))
        loaded = self._until(Loaded)
        return Loading((perf_counter() - start) * 1000, loaded.size, self.resident)

    def picture(self, model: bytes) -> None:
        """A small picture of one step."""
        from gpufair.protocol.frames import Done, Run

        self._send(Run(os.urandom(16), model, "a fox", 1, 1, 1000, 64, 64))
        self._until(Done)

    def _send(self, frame: Any) -> None:
        self._link.send(frame)
        self._flush()

    def _until(self, kind: type) -> Any:
        from gpufair.protocol.frames import Failed, LoadFailed

        while True:
            while self._early:
                frame = self._early.pop(0)
                assert not isinstance(frame, Failed | LoadFailed), frame.message
                if isinstance(frame, kind):
                    return frame
            assert self._process.stdout is not None
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, "the worker is gone"
            arrived = self._link.feed(data)
            self._early += arrived
            self._link.consumed(len(arrived))
            self._flush()

    def _flush(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(self._link.outgoing())
        self._process.stdin.flush()
