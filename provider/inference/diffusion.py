"""From latents to pictures. Rule: what looks on changes no bit of what is made.

The steps themselves are in `rows`, whose turn it is in `batcher`.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from gpufair.protocol.frames import FailCode
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.rows import Prediction, Row


def finish(pipeline: Any, row: Row) -> Image.Image:
    """The picture of a row that is done. `RefusedError` if the model gave no numbers."""
    if not bool(torch.isfinite(row.latents).all()):
        raise RefusedError(FailCode.INTERNAL, "the model gave numbers that are not finite")
    return _decode(pipeline, row.latents)


def glimpse(pipeline: Any, row: Row, prediction: Prediction) -> Image.Image:
    """The picture that the model has in mind at this step, full size."""
    return _decode(pipeline, _clean_guess(row.scheduler, prediction))


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


def _decode(pipeline: Any, latents: torch.Tensor) -> Image.Image:
    image = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    picture: Image.Image = pipeline.image_processor.postprocess(image, output_type="pil", do_denormalize=[True])[0]
    return picture
