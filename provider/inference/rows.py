"""Pictures in the making, and one step of any number of them. Rule: a row's company in a batch decides nothing for it.

A row owns all that its bits depend on: seed, latents, scheduler state, text embedding. Rows of different jobs, and of
different tasks, may share a call of the denoiser if their latents have the same shape and both are guided, or both not.
Alone, a row goes through the very operations of diffusers' own pipeline in the same order, and its bits are that
pipeline's. Latents and scheduler arithmetic are fp32, whatever the denoiser computes in.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpufair.protocol import trace
from gpufair.protocol.frames import STATE, FailCode, Run
from gpufair.provider.inference import carried, png, schedulers, tasks
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.inputs import given
from gpufair.provider.inference.request import UNGUIDED_MILLI, guided, seed_of, wanted
from gpufair.provider.inference.tasks.setting import Hold, Setting


@dataclass
class Row:
    """One picture in the making."""

    run: Run
    picture: int
    words: torch.Tensor
    """The prompt's embedding, (1, tokens, width); for guidance the negative one before it, (2, tokens, width)."""
    scheduler: Any
    generator: torch.Generator
    latents: torch.Tensor
    """(1, channels, height, width), fp32."""
    hold: Hold | None = None
    """What keeps the latents to the task's inputs after each step."""
    step: int = 0
    """Steps done, those that the order skips not counted."""

    @property
    def is_done(self) -> bool:
        """Whether no step is left."""
        return self.step == self.run.steps

    @property
    def timestep(self) -> torch.Tensor:
        """Where on the noise schedule the next step begins."""
        value: torch.Tensor = self.scheduler.timesteps[self.run.skip + self.step]
        return value

    @property
    def key(self) -> Hashable:
        """Rows of one model with equal keys may share a call of the denoiser."""
        return tuple(self.latents.shape), tuple(self.words.shape), wanted(self.run)

    @property
    def state(self) -> bytes:
        """All that the next step depends on beside the order, as bytes."""
        return carried.state(self)

    @property
    def leaf(self) -> bytes:
        """The trace leaf of the row's state as it is now."""
        return trace.leaf(self.step, self.state)

    def close(self) -> None:
        """Let go of what the row holds beside memory: nothing."""


@dataclass(frozen=True)
class Prediction:
    """What the denoiser said of a row: the input that it saw, (1, …), its guided answer, and at which timestep."""

    sample: torch.Tensor
    noise: torch.Tensor
    timestep: torch.Tensor


def begin(
    pipeline: Any, run: Run, picture: int, words: torch.Tensor, device: torch.device, inputs: Sequence[bytes] = ()
) -> Row:
    """Picture `picture` of the attempt before its first step, as its task begins it from the inputs that `run` names.

    `RefusedError` for a size, scheduler or input that can't be.
    """
    scheduler = schedulers.fresh(pipeline.scheduler, run.scheduler, run.steps, device, skip=run.skip)
    generator = torch.Generator("cpu").manual_seed(seed_of(run, picture))
    scale = pipeline.vae_scale_factor
    if run.width % scale or run.height % scale:
        raise RefusedError(FailCode.BAD_REQUEST, f"this model's sizes are multiples of {scale} pixels")
    shape = (1, pipeline.unet.config.in_channels, run.height // scale, run.width // scale)
    needs = tasks.TASKS[run.task]
    pictures = {kind: png.decode(given(run, inputs, kind), kind, run.width, run.height) for kind in needs}
    setting = Setting(pipeline, scheduler, generator, device, shape, run.skip, pictures)
    start = tasks.begin(run.task)(setting)
    return Row(run, picture, words, scheduler, generator, start.latents, start.hold)


def resume(row: Row, inputs: Sequence[bytes]) -> None:
    """Take a row that has just begun to where its order says that it stood. `RefusedError` if it can't have."""
    if row.run.first_step and row.picture == row.run.first_picture:
        carried.restore(row, row.run.first_step, given(row.run, inputs, STATE))


def advance(denoiser: Any, rows: Sequence[Row]) -> list[Prediction]:
    """Take rows of one key a step further, in one call of the denoiser."""
    return [step(row, *answer) for row, answer in zip(rows, ask(denoiser, rows), strict=True)]


def ask(denoiser: Any, rows: Sequence[Row]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What the denoiser sees of each row, and its answer, both fp32; the rows stay as they are."""
    samples = [_sample(row) for row in rows]
    counts = [len(sample) for sample in samples]
    if len(rows) == 1:
        times, words = rows[0].timestep, rows[0].words
    else:
        times = torch.cat([row.timestep.expand(count) for row, count in zip(rows, counts, strict=True)])
        words = torch.cat([row.words for row in rows])
    # The words have the denoiser's own precision; what goes in and comes out is fp32, as the scheduler's steps are.
    seen = torch.cat(samples).to(words.dtype)
    answers = denoiser(seen, times, encoder_hidden_states=words, return_dict=False)[0].float().split(counts)
    return list(zip(samples, answers, strict=True))


def _sample(row: Row) -> torch.Tensor:
    latents = torch.cat([row.latents] * 2) if guided(row.run) else row.latents
    scaled: torch.Tensor = row.scheduler.scale_model_input(latents, row.timestep)
    return scaled


def step(row: Row, sample: torch.Tensor, noise: torch.Tensor) -> Prediction:
    """Take a row a step further on the denoiser's answer."""
    timestep = row.timestep
    if guided(row.run):
        without, with_prompt = noise.chunk(2)
        noise = without + row.run.guidance_milli / UNGUIDED_MILLI * (with_prompt - without)
    extra = {name: value for name, value in (("eta", 0.0), ("generator", row.generator)) if name in _takes(row)}
    row.latents = row.scheduler.step(noise, timestep, row.latents, **extra, return_dict=False)[0]
    row.step += 1
    if row.hold is not None:
        row.latents = row.hold(row.latents, row.step)
    return Prediction(sample[:1], noise, timestep)


def _takes(row: Row) -> frozenset[str]:
    """What this kind of scheduler's step takes beyond the rest, as diffusers' pipeline would give it."""
    return frozenset(inspect.signature(row.scheduler.step).parameters)
