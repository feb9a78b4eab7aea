"""What our own loop costs beside diffusers' pipeline. ONE RULE: ours and the peer take turns, on the same model.

`core`: one picture alone, with a trace leaf a step, against the plain pipeline. `core.batch`: eight jobs that share
the denoiser, each with its own scheduler, trace and seed, against one pipeline call with a batch of eight, which is the
ceiling; `core.one_by_one`: the same eight against eight calls. Decoding and the PNG are left out on both sides. The
comparison runs in one process of one thread on a CPU, and on the GPU where torch sees one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.rows import Row, Samples
from benchmarks.running import Options

STEPS, SIDE, GUIDANCE, PROMPT, BATCH = 20, 64, 2.5, "a red apple on a white background", 8
ALONE, SHARE = 1.03, 0.90


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    bench = Bench(Path(str(files("gpufair.provider") / "models" / "demo")))
    rounds = options.rounds(30, 4)
    with machine.watched() as state:
        alone, peer = _turns(rounds, lambda seed: bench.ours([seed]), lambda seed: bench.plain([seed]))
        many, whole = _turns(rounds, lambda seed: bench.ours(range(seed, seed + BATCH)),
                             lambda seed: bench.plain(range(seed, seed + BATCH)))  # fmt: skip
    detail = {"device": bench.device_name, "steps": STEPS, "side": SIDE, "machine": state}
    ratio = alone.median / peer.median
    yield Row("core", alone.median, peer.median, "ms/picture", f"≤ {ALONE:g}x diffusers", ratio <= ALONE,
              {**detail, "ours_ms": alone.summary(), "diffusers_ms": peer.summary()})  # fmt: skip
    ours, ceiling, single = (BATCH * 1000 / value.median for value in (many, whole, peer))
    yield Row("core.batch", ours, ceiling, "pictures/s", f"≥ {SHARE:g}x one call of {BATCH}", ours >= SHARE * ceiling,
              {"ours_ms": many.summary(), "diffusers_ms": whole.summary()})  # fmt: skip
    yield Row("core.one_by_one", ours, single / BATCH, "pictures/s")


def _turns(rounds: int, ours: Callable[[int], None], peer: Callable[[int], None]) -> tuple[Samples, Samples]:
    """Milliseconds of each, in turns; the first two rounds only warm up."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 2):
        for kept, work in zip(taken, (ours, peer), strict=True):
            start = perf_counter()
            work(100 * number)
            if number >= 2:
                kept.append((perf_counter() - start) * 1000)
    return Samples(taken[0]), Samples(taken[1])


def _prompt(seed: int) -> str:
    """Each picture has a prompt of its own: none is read once for all."""
    return f"{PROMPT} {seed}"


class Bench:
    """The demo model, loaded once for both."""

    def __init__(self, folder: Path) -> None:
        import torch
        from diffusers import DDIMScheduler, StableDiffusionPipeline

        from gpufair.provider.inference import device

        torch.set_num_threads(1)
        self.torch = torch
        self.device = device.choose("auto")
        self.device_name = self.device.type
        self.pipeline: Any = StableDiffusionPipeline.from_pretrained(
            folder, torch_dtype=torch.float32, local_files_only=True
        ).to(self.device)
        self.pipeline.scheduler = DDIMScheduler.from_config(self.pipeline.scheduler.config)
        self.pipeline.set_progress_bar_config(disable=True)

    def plain(self, seeds: range | list[int]) -> None:
        """Latents of these seeds by one call of diffusers' pipeline."""
        generators = [self.torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.pipeline(
            [_prompt(seed) for seed in seeds], num_inference_steps=STEPS, guidance_scale=GUIDANCE, height=SIDE,
            width=SIDE, generator=generators, output_type="latent",
        )  # fmt: skip
        self._wait()

    def ours(self, seeds: range | list[int]) -> None:
        """The same by our loop: rows that share the denoiser, each with its own scheduler and trace."""
        from gpufair.protocol.frames import Run
        from gpufair.provider.inference import rows
        from gpufair.provider.inference.words import Words

        attempt = hashlib.sha256(b"core").digest()[:16]
        with self.torch.no_grad():
            made, known = [], Words(self.device)
            for seed in seeds:
                request = Run(
                    attempt=attempt, model=bytes(32), prompt=_prompt(seed), seed=seed, steps=STEPS,
                    guidance_milli=round(GUIDANCE * 1000), width=SIDE, height=SIDE, scheduler="ddim",
                )  # fmt: skip
                made.append(rows.begin(self.pipeline, request, 0, known.of(self.pipeline, request), self.device))
            for _ in range(STEPS):
                rows.advance(self.pipeline.unet, made)
                for row in made:
                    row.leaf  # noqa: B018 -- its cost belongs to ours
        self._wait()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
