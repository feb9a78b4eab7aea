"""From noise to a picture. Rule: one picture at a time, at batch 1, and the same request gives the same bits.

The loop does what diffusers' own text-to-image pipeline does, in the same order, so that the results are bitwise its
results; what it adds (trace, previews, cancellation) only looks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from gpufair.protocol import trace
from gpufair.protocol.frames import FailCode, Run
from gpufair.provider.inference import schedulers
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.request import UNGUIDED_MILLI, guided, preview_due, seed_of

Seen = Callable[[int, bytes, Image.Image | None], None]
"""Called with each step's number, trace leaf and, when one is due, a full-size preview."""


def encode(pipeline: Any, run: Run, device: torch.device) -> torch.Tensor:
    """The prompts encoded, once for all pictures of the attempt: for guidance the negative one first, in one batch.

    What the text encoder can't hold is cut off.
    """
    positive, negative = pipeline.encode_prompt(
        run.prompt, device, 1, guided(run), negative_prompt=run.negative_prompt if guided(run) else None
    )
    embeds: torch.Tensor = torch.cat([negative, positive]) if guided(run) else positive
    return embeds


def draw(pipeline: Any, run: Run, picture: int, words: torch.Tensor, device: torch.device, seen: Seen) -> Image.Image:
    """Picture `picture` of the job. `seen` is told every step, the starting noise as step 0, and may raise to stop."""
    scheduler = schedulers.fresh(pipeline.scheduler, run.scheduler, run.steps, device)
    generator = torch.Generator("cpu").manual_seed(seed_of(run, picture))
    extra = _extra(scheduler, generator)
    latents = _noise(pipeline, run, generator, words.dtype, device) * scheduler.init_noise_sigma
    seen(0, _leaf(0, latents), None)
    for step, timestep in enumerate(scheduler.timesteps, start=1):
        sample = scheduler.scale_model_input(torch.cat([latents] * 2) if guided(run) else latents, timestep)
        noise = pipeline.unet(sample, timestep, encoder_hidden_states=words, return_dict=False)[0]
        if guided(run):
            without, with_prompt = noise.chunk(2)
            noise = without + run.guidance_milli / UNGUIDED_MILLI * (with_prompt - without)
        latents = scheduler.step(noise, timestep, latents, **extra, return_dict=False)[0]
        due = preview_due(run, step)
        shown = _decode(pipeline, _clean_guess(scheduler, sample[:1], noise, timestep)) if due else None
        seen(step, _leaf(step, latents), shown)
    if not bool(torch.isfinite(latents).all()):
        raise RefusedError(FailCode.INTERNAL, "the model gave numbers that are not finite")
    return _decode(pipeline, latents)


def _extra(scheduler: Any, generator: torch.Generator) -> dict[str, Any]:
    """What this kind of scheduler's step takes beyond the rest, as diffusers' pipeline would give it."""
    names = inspect.signature(scheduler.step).parameters
    return {name: value for name, value in (("eta", 0.0), ("generator", generator)) if name in names}


def _noise(
    pipeline: Any, run: Run, generator: torch.Generator, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    scale = pipeline.vae_scale_factor
    if run.width % scale or run.height % scale:
        raise RefusedError(FailCode.BAD_REQUEST, f"this model's sizes are multiples of {scale} pixels")
    shape = (1, pipeline.unet.config.in_channels, run.height // scale, run.width // scale)
    noise: torch.Tensor = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
    return noise


def _leaf(step: int, latents: torch.Tensor) -> bytes:
    return trace.leaf(step, latents.to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes())


def _clean_guess(scheduler: Any, sample: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """The picture that the model has in mind at this step, as latents.

    A scaled model input is √a·x₀ + √(1-a)·ε for every scheduler offered, so one formula serves them all.
    """
    share: torch.Tensor = scheduler.alphas_cumprod[int(timestep)].to(sample.device, sample.dtype)
    keep, lost = share.sqrt(), (1 - share).sqrt()
    guess: torch.Tensor
    match scheduler.config.prediction_type:
        case "v_prediction":
            guess = keep * sample - lost * noise
        case "sample":
            guess = noise
        case _:
            guess = (sample - lost * noise) / keep
    return guess


def _decode(pipeline: Any, latents: torch.Tensor) -> Image.Image:
    image = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    picture: Image.Image = pipeline.image_processor.postprocess(image, output_type="pil", do_denormalize=[True])[0]
    return picture
