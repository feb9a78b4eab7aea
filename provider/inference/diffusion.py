"""From latents to pictures. Rule: what looks on changes no bit of what is made.

The steps themselves are in `rows`, whose turn it is in `batcher`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from gpufair.provider.inference.rows import Prediction, Row


def finish(pipeline: Any, rows: Sequence[Row]) -> list[Image.Image | None]:
    """The pictures of rows of one size that are done, decoded in one call; None where the model gave no numbers."""
    images = _decoded(pipeline, torch.cat([row.latents for row in rows])).chunk(len(rows))
    sound = [_finite(row.latents) and _finite(image) for row, image in zip(rows, images, strict=True)]
    return [_picture(pipeline, image) if good else None for good, image in zip(sound, images, strict=True)]


def glimpse(pipeline: Any, row: Row, prediction: Prediction) -> Image.Image:
    """The picture that the model has in mind at this step, full size."""
    return _picture(pipeline, _decoded(pipeline, _clean_guess(row.scheduler, prediction)))


def _clean_guess(scheduler: Any, prediction: Prediction) -> torch.Tensor:
    """What the model takes the finished latents to be.

    A scaled model input is √a·x₀ + √(1-a)·ε for every scheduler offered, so one formula serves them all.
    """
    sample, noise = prediction.sample, prediction.noise
    share: torch.Tensor = scheduler.alphas_cumprod[int(prediction.timestep)].to(sample.device, sample.dtype)
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


def _decoded(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    images: torch.Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
    return images


def _picture(pipeline: Any, image: torch.Tensor) -> Image.Image:
    picture: Image.Image = pipeline.image_processor.postprocess(image, output_type="pil")[0]
    return picture


def _finite(numbers: torch.Tensor) -> bool:
    return bool(torch.isfinite(numbers).all())
