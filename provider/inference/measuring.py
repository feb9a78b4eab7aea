"""How fast a model is made to work here. Rule: what is timed is the loop that makes pictures for buyers, and all of it.

Steps are told apart from the rest by what the loop says on its way: from one Step to the next is a step, its leaf
included; from the last Step to the picture's end is decoding, its PNG included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gpufair.protocol import limits
from gpufair.protocol.frames import FailCode, FromWorker, Measure, Measured, OutputEnd, Run, Step
from gpufair.provider.inference import memory
from gpufair.provider.inference.adapters import Patch
from gpufair.provider.inference.batcher import Batcher
from gpufair.provider.inference.engine import RefusedError

MATMUL_SIDE = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices whose product says what the device can do at best."""
MATMUL_ROUNDS = 5
WARM_UP_MILLI = 5000


@dataclass
class Marks:
    """When the loop told its steps and its pictures' ends, by any clock."""

    clock: Callable[[], float]
    steps: list[float] = field(default_factory=list)
    """What one step took, of every step but each picture's start."""
    decodes: list[float] = field(default_factory=list)
    last: float = 0.0

    def tell(self, frame: FromWorker) -> None:
        """Takes the place of the pipe to the node."""
        if isinstance(frame, Step):
            if frame.step:
                self.steps.append(self.clock() - self.last)
            self.last = self.clock()
        elif isinstance(frame, OutputEnd):
            self.decodes.append(self.clock() - self.last)


def measure(
    order: Measure, pipeline: Any, patch: Patch, inputs: Sequence[bytes], where: torch.device, dtype: torch.dtype
) -> Measured:
    """The figures of an attempt that is made `order.rounds` times, and twice more: to warm up, and to count.

    `RefusedError` if the attempt can't be made. To be used under `torch.no_grad`.
    """

    def now() -> float:
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        return time.perf_counter()

    def make(clock: Callable[[], float]) -> tuple[Marks, float]:
        marks, start = Marks(clock), clock()
        _make(order.run, pipeline, patch, inputs, where, marks)
        return marks, clock() - start

    make(now)
    memory.forget_peak(where)
    timed = [make(now) for _ in range(order.rounds)]
    peak = memory.peak_bytes(where)
    with FlopCounterMode(display=False) as counter:
        counted, _ = make(lambda: float(counter.get_total_flops()))
    return Measured(
        attempt=order.run.attempt,
        step_us=_micros(median(took for marks, _ in timed for took in marks.steps)),
        decode_us=_micros(median(took for marks, _ in timed for took in marks.decodes)),
        whole_us=_micros(median(whole for _, whole in timed)),
        step_flops=int(median(counted.steps)),
        decode_flops=int(median(counted.decodes)),
        matmul_flops=matmul_flops(where, dtype, now),
        peak_bytes=peak,
    )


def warm_up(model: bytes, pipeline: Any, where: torch.device) -> None:
    """One guided step at the model's own size, so that what most buyers ask for first is compiled by then."""
    config = getattr(pipeline, "unet", pipeline).config
    side = getattr(config, "sample_size", None) or 0
    pixels = side * pipeline.vae_scale_factor if isinstance(side, int) else 0
    if limits.SIDE_MIN <= pixels <= limits.SIDE_MAX:
        run = Run(bytes(16), model, "", 0, steps=1, guidance_milli=WARM_UP_MILLI, width=pixels, height=pixels)
        _make(run, pipeline, Patch(), (), where, Marks(time.perf_counter))


def matmul_flops(where: torch.device, dtype: torch.dtype, now: Callable[[], float]) -> int:
    """Floating-point operations a second of a large matrix product: what any model could reach at most."""
    side = MATMUL_SIDE[where.type]
    left, right = (torch.rand(side, side, device=where, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(MATMUL_ROUNDS + 1):
        start = now()
        torch.mm(left, right)
        times.append(now() - start)
    return int(2 * side**3 / min(times[1:]))


def _make(run: Run, pipeline: Any, patch: Patch, inputs: Sequence[bytes], where: torch.device, marks: Marks) -> None:
    # A batcher of its own remembers no prompt: the text encoder's time is part of the whole, as for a new buyer.
    batcher = Batcher(where)
    batcher.admit(pipeline, patch, run, inputs, marks.tell, lambda: False)
    while batcher.is_busy:
        for _, err in batcher.advance():
            if err is not None:
                raise err
    if not (marks.steps and marks.decodes):
        raise RefusedError(FailCode.BAD_REQUEST, "an attempt without steps has nothing to measure")


def _micros(seconds: float) -> int:
    return max(1, round(seconds * 1e6))
