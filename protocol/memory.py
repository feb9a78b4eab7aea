"""How much memory pictures need. Rule: foretold from the model's configuration and the picture's shape, torch unseen.

Counted are the numbers that are in memory at once. In a U-Net that moment comes on the way up, at its widest level:
what the way down has kept for it, and beside that either a residual block, whose input is two levels' channels joined,
or a transformer's feed-forward, eight times as wide as the level and back. In a VAE it is the last block, at full size
with the second width. Against the live tensors of real passes (Stable Diffusion, SDXL, the demo model), the first is
within 5 % and the second up to 17 % too much; what convolutions take for themselves comes on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpufair.protocol import limits

FP32_BYTES = 4
HALF_BYTES = 2
SCRATCH_PERCENT = 50
"""What libraries take beside the tensors, for reordered copies and the like."""
FIXED_BYTES = 64 * limits.MIB
"""What a pass takes whatever its size."""
WHOLE_PICTURE = 9
"""Numbers for each pixel of a finished picture: three colours, before, after and while they are brought into range."""
TILED = (None, "AutoencoderKL")
"""Classes of VAE that work in tiles above `limits.VAE_TILE_SIDE`; who names none is of the usual one."""
FEED_FORWARD = 21
"""Numbers for each channel and place while a transformer's feed-forward is computed."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one model takes, in numbers: weights of the VAE and of all else; in a pass, for each latent place and pixel.

    A latent place stands for `scale` x `scale` pixels; `side` is that of the pictures that the model was made for.
    """

    others: int
    vae: int
    per_place: int
    per_pixel: int
    scale: int
    side: int
    tile_pixels: int = limits.PIXELS_MAX
    """The most pixels that the VAE decodes at once."""

    def weights_bytes(self, *, half: bool) -> int:
        """The whole model in memory; the VAE is never in 16 bits."""
        return self.vae * FP32_BYTES + self.others * (HALF_BYTES if half else FP32_BYTES)

    def picture_bytes(self, pixels: int, *, guided: bool, half: bool) -> int:
        """The largest moment of one picture of `pixels`, beside the weights: in a step, or when it is decoded."""
        places = pixels // self.scale**2 * (2 if guided else 1)
        step = places * self.per_place * (HALF_BYTES if half else FP32_BYTES)
        whole = pixels * WHOLE_PICTURE * FP32_BYTES
        largest = max(step, whole + min(pixels, self.tile_pixels) * self.per_pixel * FP32_BYTES)
        return FIXED_BYTES + largest * (100 + SCRATCH_PERCENT) // 100


def footprint(configs: Mapping[str, Mapping[str, Any]], weights: Mapping[str, int]) -> Footprint | None:
    """What a model takes, by its parts' configurations and numbers of weights; None for parts of an unknown make."""
    vae, denoiser = configs.get("vae", {}), configs.get("unet") or configs.get("transformer") or {}
    widths = _widths(vae)
    per_place = _unet(denoiser) if "unet" in configs else _transformer(denoiser)
    if not widths or not per_place:
        return None
    scale = 2 ** (len(widths) - 1)
    return Footprint(
        others=sum(count for name, count in weights.items() if name != "vae"),
        vae=weights.get("vae", 0),
        per_place=per_place,
        per_pixel=3 * max(widths[:2]) + widths[0],
        scale=scale,
        side=_whole(denoiser.get("sample_size")) * scale,
        tile_pixels=limits.VAE_TILE_SIDE**2 if vae.get("_class_name") in TILED else limits.PIXELS_MAX,
    )


def _unet(config: Mapping[str, Any]) -> int:
    widths = _widths(config)
    kinds = config.get("down_block_types")
    if not widths or not isinstance(kinds, list | tuple) or len(kinds) != len(widths):
        return 0
    layers = _whole(config.get("layers_per_block")) or 2
    kept = sum((layers + 1) * width // 4**level for level, width in enumerate(widths))
    blocks = []
    for level, (width, kind) in enumerate(zip(widths, kinds, strict=True)):
        joined = width + widths[min(level + 1, len(widths) - 1)]
        widest = FEED_FORWARD * width if "Attn" in str(kind) else 3 * joined + width
        blocks.append(widest // 4**level)
    return int(kept + max(blocks))


def _transformer(config: Mapping[str, Any]) -> int:
    width = _whole(config.get("num_attention_heads")) * _whole(config.get("attention_head_dim"))
    patch = _whole(config.get("patch_size")) or 1
    return FEED_FORWARD * width // patch**2


def _widths(config: Mapping[str, Any]) -> Sequence[int]:
    found = config.get("block_out_channels")
    return [_whole(width) for width in found] if isinstance(found, list | tuple) else []


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0
