"""What our own loop costs beside diffusers' pipeline. ONE RULE: ours and the peer take turns, on the same model.

`core`: one picture alone, from the order to the PNG, every step traced and its state put into frames, against the plain
pipeline and the same PNG. `core.batch`: eight jobs that share denoiser and decoder, each with its own scheduler, trace,
states and seed, against one pipeline call with a batch of eight, which is the ceiling; `core.one_by_one` and
`core.ceiling`: both against eight calls. `core.cancel`: from a cancel at any moment of a step to the attempt's end,
against a step. The comparison runs in one process, of one thread on a CPU, and on the GPU where torch sees one.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

from benchmarks import machine
from benchmarks.rows import Row, Samples
from benchmarks.running import Options

STEPS, SIDE, GUIDANCE, PROMPT, BATCH = 20, 64, 2.5, "a red apple on a white background", 8
ALONE, SHARE = 1.03, 0.90
DEMO = Path(str(files("gpufair.provider") / "models" / "demo"))


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    bench = Bench(options.folder)
    rounds = options.rounds(30, 4)
    with machine.watched() as state:
        alone, peer = _turns(rounds, lambda seed: bench.ours([seed]), lambda seed: bench.plain([seed]))
        many, whole = _turns(rounds, lambda seed: bench.ours(range(seed, seed + BATCH)),
                             lambda seed: bench.plain(range(seed, seed + BATCH)))  # fmt: skip
        stopped, step = bench.cancels(options.rounds(60, 6))
    detail = {"device": bench.device, "steps": STEPS, "side": SIDE, "machine": state}
    ratio = alone.wall.median / peer.wall.median
    yield Row("core", alone.wall.median, peer.wall.median, "ms/picture", f"≤ {ALONE:g}x diffusers", ratio <= ALONE,
              {**detail, "ours_ms": alone.summary(), "diffusers_ms": peer.summary()})  # fmt: skip
    ours, ceiling, single = (BATCH * 1000 / side.wall.median for side in (many, whole, peer))
    yield Row("core.batch", ours, ceiling, "pictures/s", f"≥ {SHARE:g}x one call of {BATCH}", ours >= SHARE * ceiling,
              {"ours_ms": many.summary(), "diffusers_ms": whole.summary()})  # fmt: skip
    yield Row("core.one_by_one", ours, single / BATCH, "pictures/s")
    yield Row("core.ceiling", ceiling, single / BATCH, "pictures/s")
    late = stopped.percentile(0.9)
    yield Row("core.cancel", late, step.median, "ms, p90", "≤ one step", late <= step.percentile(0.9),
              {"stopped_ms": stopped.summary(), "step_ms": step.summary()})  # fmt: skip


@dataclass(frozen=True)
class Side:
    """What one side took, in milliseconds: by the wall, and of this process's processors, which others don't slow."""

    wall: Samples
    processor: Samples

    def summary(self) -> dict[str, Any]:
        """For `detail`."""
        return {"wall": self.wall.summary(), "processor": self.processor.summary()}


def _turns(rounds: int, *works: Callable[[int], None]) -> list[Side]:
    """What each takes, in turns; the first two rounds only warm up."""
    taken: list[tuple[list[float], list[float]]] = [([], []) for _ in works]
    for number in range(rounds + 2):
        for (wall, processor), work in zip(taken, works, strict=True):
            start, used = perf_counter(), process_time()
            work(100 * number)
            if number >= 2:
                wall.append((perf_counter() - start) * 1000)
                processor.append((process_time() - used) * 1000)
    return [Side(Samples(wall), Samples(processor)) for wall, processor in taken]


def _prompt(seed: int) -> str:
    """Each picture has a prompt of its own: none is read once for all."""
    return f"{PROMPT} {seed}"


class Bench:
    """The demo model, loaded once for each side: by diffusers, and by our worker's engine in this process."""

    def __init__(self, folder: Path) -> None:
        import torch
        from diffusers import DDIMScheduler, StableDiffusionPipeline

        from gpufair.protocol.frames import VERSION, Hello, Load
        from gpufair.provider.inference.torch_engine import TorchEngine
        from gpufair.provider.models.store import ModelStore

        self.torch = torch
        self.engine = TorchEngine(Hello(VERSION, bytes(16), 1, "auto"))
        self.device = self.engine.profile.device_kind
        self.model = ModelStore(folder).add(DEMO).digest
        self.engine.load(Load(self.model, str(ModelStore(folder).path(self.model))))
        self.pipeline: Any = StableDiffusionPipeline.from_pretrained(DEMO, dtype=torch.float32, local_files_only=True)
        self.pipeline.to(self.device)
        self.pipeline.scheduler = DDIMScheduler.from_config(self.pipeline.scheduler.config)
        self.pipeline.set_progress_bar_config(disable=True)

    def plain(self, seeds: Sequence[int]) -> None:
        """Pictures of these seeds by one call of diffusers' pipeline, as PNG."""
        from gpufair.provider.inference import png

        generators = [self.torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        made = self.pipeline(
            [_prompt(seed) for seed in seeds], num_inference_steps=STEPS, guidance_scale=GUIDANCE, height=SIDE,
            width=SIDE, generator=generators,
        )  # fmt: skip
        for picture in made.images:
            png.encode(picture)

    def ours(self, seeds: Sequence[int]) -> None:
        """The same by our loop, as so many jobs at once: every frame is made, and then let go."""
        from gpufair.protocol.frames import encode

        for seed in seeds:
            self.engine.admit(self.order(seed, "single" if len(seeds) > 1 else "exact"), (), encode, lambda: False)
        while self.engine.is_busy:
            for _, err in self.engine.advance():
                if err is not None:
                    raise err

    def cancels(self, rounds: int) -> tuple[Samples, Samples]:
        """Milliseconds from a cancel at some moment of a step to the attempt's end; and those of a step."""
        from gpufair.protocol.frames import encode

        dice, delays, steps = random.Random(1), [], []
        for number in range(rounds):
            told, at = threading.Event(), [0.0]
            self.engine.admit(self.order(number, "exact"), (), encode, told.is_set)
            for _ in range(3):
                start = perf_counter()
                self.engine.advance()
                steps.append((perf_counter() - start) * 1000)
            after = dice.uniform(0, steps[-1] / 1000)

            def cancel(after: float = after, at: list[float] = at, told: threading.Event = told) -> None:
                sleep(after)
                at[0] = perf_counter()
                told.set()

            thread = threading.Thread(target=cancel)
            thread.start()
            while self.engine.is_busy:
                self.engine.advance()
            delays.append((perf_counter() - at[0]) * 1000)
            thread.join()
        return Samples(delays), Samples(steps)

    def order(self, seed: int, precision: str) -> Any:
        """One picture, its states told."""
        from gpufair.protocol.frames import Run

        return Run(
            attempt=os.urandom(16), model=self.model, prompt=_prompt(seed), seed=seed, steps=STEPS,
            guidance_milli=round(GUIDANCE * 1000), width=SIDE, height=SIDE, scheduler="ddim", precision=precision,
            trace=True,
        )  # fmt: skip
