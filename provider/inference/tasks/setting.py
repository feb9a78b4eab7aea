"""What a task begins a picture with, and what it makes. Rule: noise is drawn in the order of diffusers' pipelines.

So a picture is theirs to the bit, and where its generator stands follows from its order and its step alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

Hold = Callable[[torch.Tensor, int], torch.Tensor]
"""What becomes of the latents after step s (1 …), before the next one sees them."""


@dataclass(frozen=True)
class Setting:
    """One picture's surroundings: the parts of its model, its scheduler, its dice, and the pictures it begins from."""

    pipeline: Any
    scheduler: Any
    generator: torch.Generator
    device: torch.device
    shape: tuple[int, int, int, int]
    """Of the latents: (1, channels, height, width)."""
    skip: int
    pictures: Mapping[str, Image.Image]
    """By the kind of input, each of exactly the job's size."""

    def noise(self) -> torch.Tensor:
        """Noise of the latents' shape, fp32, drawn on the CPU whatever computes."""
        drawn: torch.Tensor = randn_tensor(
            self.shape, generator=self.generator, device=self.device, dtype=torch.float32
        )
        return drawn

    def encoded(self, picture: Image.Image) -> torch.Tensor:
        """The picture as latents, fp32. The encoder gives a distribution, from which noise is drawn once."""
        vae = self.pipeline.vae
        pixels = self.pipeline.image_processor.preprocess(picture).to(self.device, vae.dtype)
        drawn = vae.encode(pixels).latent_dist.sample(self.generator).to(torch.float32)
        latents: torch.Tensor = vae.config.scaling_factor * drawn
        return latents

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, step: int) -> torch.Tensor:
        """Latents with as much noise as the schedule has after `step` steps."""
        at = self.scheduler.timesteps[self.skip + step : self.skip + step + 1]
        noisy: torch.Tensor = self.scheduler.add_noise(latents, noise, at)
        return noisy


@dataclass(frozen=True)
class Start:
    """How a picture begins: its latents, and what holds them to its inputs after each step, if anything does."""

    latents: torch.Tensor
    hold: Hold | None = None


Begin = Callable[[Setting], Start]
