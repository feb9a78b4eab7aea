"""Pictures with their traces, made honestly or not, and any of their steps replayed. ONE RULE: who judges is real."""

from __future__ import annotations

import copy
import hashlib
import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpufair.protocol.frames import IMAGE, MASK, PICTURE, STATE, TEXT_TO_IMAGE, InputRef, Replay, Replayed, Run
from gpufair.provider.inference import carried, diffusion, png, replay, rows
from gpufair.provider.inference.tasks import TASKS
from gpufair.provider.inference.words import Words

CPU = torch.device("cpu")
SKIP = 3


def _png(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


INPUTS = {
    IMAGE: _png(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)),
    MASK: _png(np.repeat(np.arange(64, dtype=np.uint8)[None] // 32 * 255, 64, 0)),
}


@dataclass(frozen=True)
class Claim:
    """What somebody says that it did: a run with its inputs, the states of its trace, the picture."""

    run: Run
    inputs: list[bytes]
    states: list[bytes]
    png: bytes

    def audit(self, step: int) -> tuple[Replay, list[bytes]]:
        """What a worker is given to judge a step."""
        opened = sorted({0, step, step + 1, self.run.steps})
        named = [*((STATE, self.states[one], one) for one in opened), (PICTURE, self.png, 0)]
        refs = [InputRef(kind, hashlib.sha256(data).digest(), len(data), at) for kind, data, at in named]
        data = [*self.inputs, *(data for _, data, _ in named)]
        return Replay(replace(self.run, inputs=(*self.run.inputs, *refs)), step), data


def order(demo: Any, *, task: str = TEXT_TO_IMAGE, **changes: Any) -> tuple[Run, list[bytes]]:
    """An order with the inputs that its task needs."""
    inputs = [INPUTS[kind] for kind in TASKS[task]]
    refs = [InputRef(kind, hashlib.sha256(INPUTS[kind]).digest(), len(INPUTS[kind])) for kind in TASKS[task]]
    skip = 0 if task == TEXT_TO_IMAGE else SKIP
    return demo.run(task=task, skip=skip, inputs=tuple(refs), **changes), inputs


def begin(pipeline: Any, run: Run, inputs: list[bytes]) -> rows.Row:
    return rows.begin(pipeline, run, run.first_picture, Words(CPU).of(pipeline, run), CPU, inputs)


def made(pipeline: Any, run: Run, inputs: list[bytes], *, company: int = 0, unet: Any = None) -> Claim:
    """A picture made by the worker's own code, alone or in a batch with others; perhaps with another denoiser."""
    with torch.no_grad():
        row = begin(pipeline, run, inputs)
        others = [begin(pipeline, replace(run, seed=run.seed + 1 + n), inputs) for n in range(company)]
        states = [carried.state(row)]
        while not row.is_done:
            rows.advance(unet or pipeline.unet, [row, *others])
            states.append(carried.state(row))
        [picture] = diffusion.finish(pipeline, [row])
    assert picture is not None
    return Claim(run, inputs, states, png.encode(picture))


def judged(pipeline: Any, claim: Claim, step: int) -> Replayed:
    with torch.no_grad():
        return replay.judge(pipeline, *claim.audit(step), CPU)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Another runtime profile: sums in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- cheats ----------------------------------------------------------------------------------------------------------


def rounded(unet: Any, bits: int) -> Any:
    """The denoiser with its weights in so many bits, a scale for each output channel."""
    other, most = copy.deepcopy(unet), 2 ** (bits - 1) - 1
    for weight in other.parameters():
        if weight.dim() > 1:
            flat = weight.data.reshape(weight.shape[0], -1)
            scale = flat.abs().amax(1, keepdim=True) / most
            weight.data = ((flat / scale).round().clamp(-most - 1, most) * scale).reshape(weight.shape)
    return other


def perturbed(unet: Any) -> Any:
    """Another denoiser, 2 % away."""
    other, dice = copy.deepcopy(unet), torch.Generator().manual_seed(5)
    for weight in other.parameters():
        noise = torch.randn(weight.shape, generator=dice)
        weight.data = weight.data + 0.02 * weight.data.std(unbiased=False) * noise
    return other


class Lazy:
    """A denoiser that is asked every second time only, and says its last answer again in between."""

    def __init__(self, unet: Any) -> None:
        self._unet, self._calls, self._last = unet, 0, None

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._calls % 2 == 0:
            self._last = self._unet(*args, **options)
        self._calls += 1
        return self._last


def interpolated(pipeline: Any, run: Run, inputs: list[bytes]) -> Claim:
    """Half of the steps, and between each two the middle: states of the right sizes and numbers."""
    fewer = made(pipeline, replace(run, steps=run.steps // 2), inputs)
    full = made(pipeline, run, inputs)
    numbers = [np.frombuffer(state, "<f4")[: len(full.states[0]) // 4] for state in fewer.states]
    between = [(a + b) / 2 for a, b in itertools.pairwise(numbers)]
    latents = [numbers[0], *(one for pair in zip(between, numbers[1:], strict=True) for one in pair)]
    states = [
        one.astype("<f4").tobytes() * (len(true) // len(full.states[0]))
        for one, true in zip(latents, full.states, strict=True)
    ]
    return Claim(run, inputs, states, fewer.png)


Cheat = Callable[[Any, Run, list[bytes]], Claim]


def _instead(**changes: Any) -> Cheat:
    """Another order is done, and told as the one that was given."""
    return lambda pipeline, run, inputs: replace(made(pipeline, replace(run, **changes), inputs), run=run)


def _with(change: Callable[[Any], Any]) -> Cheat:
    return lambda pipeline, run, inputs: made(pipeline, run, inputs, unet=change(pipeline.unet))


def _other_picture(pipeline: Any, run: Run, inputs: list[bytes]) -> Claim:
    other = made(pipeline, replace(run, seed=run.seed + 9), inputs)
    return replace(made(pipeline, run, inputs), png=other.png)


CHEATS: dict[str, Cheat] = {
    "weights of 8 bits": _with(lambda unet: rounded(unet, 8)),
    "weights of 4 bits": _with(lambda unet: rounded(unet, 4)),
    "another model": _with(perturbed),
    "no guidance": _instead(guidance_milli=1000),
    "another prompt": _instead(prompt="a red apple"),
    "another seed": _instead(seed=77),
    "half of the steps": interpolated,
    "another picture": _other_picture,
    "every second call": _with(Lazy),
}
"""Every one of them makes a trace whose proofs hold: only a replay can tell."""
