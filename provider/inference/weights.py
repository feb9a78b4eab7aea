"""From a model folder to a pipeline in memory. Rule: what cannot be loaded whole is refused with the reason.

How the parts of a kind of model are put together is its family's business (`families/`); whether a part is in memory
already is for `residency` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from gpufair.protocol.content import model_digest
from gpufair.protocol.frames import FailCode
from gpufair.protocol.limits import VAE_TILE_SIDE
from gpufair.provider.inference import families, folder
from gpufair.provider.inference.device import out_of_memory
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.families.parts import INDEX
from gpufair.provider.inference.residency import Keep


def alone(name: str, size: int, make: Callable[[], Any]) -> Any:
    """Keeps nothing: every part is made anew."""
    del name, size
    return make()


def load(
    path: Path, digest: bytes, device: torch.device, dtype: torch.dtype = torch.float32, keep: Keep = alone
) -> tuple[Any, int]:
    """The pipeline in the folder `path` on `device`, and the bytes of its weights: in `dtype`, where its family allows.

    `RefusedError`: model missing, or model bad (another digest, a family that can't be, weights that don't fit).
    """
    files = folder.verify(path, digest)
    maker = families.named(str(folder.read_json(path / INDEX).get("_class_name")))

    def keep_part(kind: str, where: Path, wide: torch.dtype, make: Callable[[], Any]) -> Any:
        inside = f"{where.relative_to(path).as_posix()}/"
        mine = [replace(f, path=f.path.removeprefix(inside)) for f in files if f.path.startswith(inside)]
        # A part that lacks its files has nobody to share with; what it lacks is told by whoever makes it.
        name = f"{kind} {wide} {(model_digest(mine) if mine else digest).hex()}"
        return keep(name, folder.weights(where) * wide.itemsize, make)

    try:
        pipeline = maker.load(path, dtype, keep_part)
    except RefusedError:
        raise
    except Exception as err:
        # A folder can be wrong in as many ways as the libraries have exceptions.
        if out_of_memory(err):
            raise
        raise RefusedError(FailCode.MODEL_BAD, f"the folder can't be loaded: {type(err).__name__}") from err
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    for part in parts:
        part.to(device)
        if isinstance(part, AutoencoderKL):
            _tile(part)
    return pipeline, sum(p.numel() * p.element_size() for part in parts for p in part.parameters())


def _tile(vae: Any) -> None:
    """Have large pictures, and only those, go through the VAE in overlapping tiles. The profile says so."""
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = VAE_TILE_SIDE, VAE_TILE_SIDE // scale
