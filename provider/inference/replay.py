"""A step of somebody's run done again, and how far off the claim is. Rule: who judges runs the very code that makes.

Three errors. The start: the claimed first state beside the one that seed and inputs give; none for a run that goes on
from a checkpoint, whose first state is the very bytes that its order names. The step: the claimed state
after it beside the one that follows from the claimed state before it. The picture: the delivered one beside what the
claimed last state decodes to. A step is small beside the latents that it changes, most of all a late one: so its error
is measured in the denoiser's own contribution to it, without which a denoiser of 8-bit weights looks more honest than
one of 16-bit arithmetic is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gpufair.protocol.frames import IMAGE, PICTURE, STATE, FailCode, Replay, Replayed, Run
from gpufair.provider.inference import carried, diffusion, png, rows
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.rows import Row
from gpufair.provider.inference.words import Words

NANO = 10**9
INCOMPARABLE = 2**64 - 1
PIXEL_RANGE = 255


def order(replay: Replay) -> Run:
    """The run as it was ordered, of the one picture that is judged. `RefusedError` for one that lacks a state.

    What only a replay needs is not among its inputs.
    """
    run, step = replay.run, replay.step
    if not run.first_step <= step < run.steps:
        raise RefusedError(FailCode.BAD_REQUEST, f"step {step} of a run from {run.first_step} to {run.steps}")
    given = {ref.step for ref in run.inputs if ref.kind == STATE}
    if lacking := {run.first_step, step, step + 1, run.steps} - given:
        raise RefusedError(FailCode.BAD_REQUEST, f"a replay of step {step} needs the states {sorted(lacking)} too")
    if [ref.kind for ref in run.inputs].count(PICTURE) != 1:
        raise RefusedError(FailCode.BAD_REQUEST, "a replay needs the one picture that was delivered")
    own = tuple(ref for ref in run.inputs if ref.kind not in (STATE, PICTURE))
    return replace(run, inputs=own, count=1, first_step=0, trace=False, preview_every=0)


def judge(pipeline: Any, replay: Replay, inputs: Sequence[bytes], device: torch.device) -> Replayed:
    """How far the claims are from what this machine makes. To be used under `torch.no_grad`."""
    run = order(replay)
    pairs = list(zip(replay.run.inputs, inputs, strict=True))
    own = [data for ref, data in pairs if ref.kind not in (STATE, PICTURE)]
    row = rows.begin(pipeline, run, run.first_picture, Words(device).of(pipeline, run), device, own)
    claim = _Claim(row, {ref.step: data for ref, data in pairs if ref.kind == STATE})
    shown = next(data for ref, data in pairs if ref.kind == PICTURE)
    errors = (
        0.0 if replay.run.first_step else _start_error(claim, row.latents),
        _step_error(pipeline, claim, replay.step),
        _picture_error(pipeline, claim, shown),
    )
    return Replayed(run.attempt, *map(_nano, errors))


class _Claim:
    """The row as the claim has it, at any of its opened states; the same row, for a task's hold knows its scheduler."""

    def __init__(self, begun: Row, states: Mapping[int, bytes]) -> None:
        self._row, self._states = begun, states
        self._dice = begun.generator.get_state()
        self.steps = begun.run.steps

    def at(self, step: int) -> Row | None:
        """The row with the state of a step; None for bytes that can't be that state."""
        self._row.generator.set_state(self._dice)
        try:
            carried.restore(self._row, step, self._states[step])
        except RefusedError:
            return None
        return self._row


def _start_error(claim: _Claim, begun: torch.Tensor) -> float:
    first = claim.at(0)
    return math.inf if first is None else _share(_norm(begun - first.latents), begun)


def _step_error(pipeline: Any, claim: _Claim, step: int) -> float:
    """The largest error among the latents and what the scheduler carries on."""
    row = claim.at(step + 1)
    claimed = [] if row is None else carried.tensors(row)
    row = claim.at(step)
    if row is None or not claimed:
        return math.inf
    [(sample, noise)] = rows.ask(pipeline.unet, [row])
    rows.step(row, sample, noise)
    done = carried.tensors(row)
    # A scheduler's step is affine in the denoiser's answer: what a denoiser that says nothing leaves out is its share.
    idle = claim.at(step)
    assert idle is not None
    rows.step(idle, sample, torch.zeros_like(noise))
    return max(_tensor_error(*three) for three in zip(done, carried.tensors(idle), claimed, strict=True))


def _tensor_error(done: torch.Tensor, idle: torch.Tensor, claim: torch.Tensor) -> float:
    """Where the denoiser has a say, in its contribution; where it has none (outside a mask), in what stands there."""
    off, share = done - claim, done - idle
    has_say = share != 0
    return max(_share(_norm(off[has_say]), share[has_say]), _share(_norm(off[~has_say]), done[~has_say]))


def _picture_error(pipeline: Any, claim: _Claim, delivered: bytes) -> float:
    """The mean difference of the pixels' channels, by their full range."""
    last = claim.at(claim.steps)
    if last is None:
        return math.inf
    [made] = diffusion.finish(pipeline, [last])
    try:
        shown = png.decode(delivered, IMAGE, last.run.width, last.run.height)
    except RefusedError:
        return math.inf
    if made is None:
        return math.inf
    ours, theirs = (np.asarray(picture.convert("RGB"), np.float64) for picture in (made, shown))
    return float(np.abs(ours - theirs).mean()) / PIXEL_RANGE


def _norm(tensor: torch.Tensor) -> float:
    return float(tensor.double().norm())


def _share(error: float, of: torch.Tensor) -> float:
    """An error by the norm of what it is an error of; none is none, whatever that is."""
    if error == 0:
        return 0.0
    whole = _norm(of)
    return error / whole if whole else math.inf


def _nano(share: float) -> int:
    """Thousand-millionths, rounded up: only what is the same to the bit is 0."""
    return min(math.ceil(share * NANO), INCOMPARABLE) if math.isfinite(share) else INCOMPARABLE
