"""A part of a picture made anew. Rule: outside the mask, each step ends as the given picture with its place's noise.

White in the mask is made anew. What a step makes of the rest is thrown away, so that the new part grows beside the old
one and fits it. Any text-to-image model can do it. Outpainting is the same on a larger canvas.
"""

from __future__ import annotations

import torch
from diffusers.image_processor import VaeImageProcessor

from gpufair.protocol.frames import IMAGE, MASK
from gpufair.provider.inference.tasks.setting import Setting, Start


def begin(setting: Setting) -> Start:
    """Pure noise if no step is skipped, else the given picture with noise; and what holds it to the picture."""
    given = setting.encoded(setting.pictures[IMAGE]).contiguous()  # in memory as in diffusers, where it is copied
    noise = setting.noise()
    setting.noise()  # diffusers encodes the masked picture too, for denoisers that read it: ours don't, the dice must
    anew = _mask(setting)
    last = len(setting.scheduler.timesteps) - setting.skip

    def hold(latents: torch.Tensor, step: int) -> torch.Tensor:
        kept = given if step == last else setting.noised(given, noise, step)
        return (1 - anew) * kept + anew * latents

    latents = setting.noised(given, noise, 0) if setting.skip else noise * setting.scheduler.init_noise_sigma
    return Start(latents, hold)


def _mask(setting: Setting) -> torch.Tensor:
    """1 where the picture is made anew, else 0, one number for each place of the latents: (1, 1, height, width)."""
    reader = VaeImageProcessor(do_normalize=False, do_binarize=True, do_convert_grayscale=True)
    pixels = reader.preprocess(setting.pictures[MASK])
    return torch.nn.functional.interpolate(pixels, size=setting.shape[-2:]).to(setting.device, torch.float32)
