"""Kinds of models. Rule: a family is one file beside this one, and one line in `protocol/families.py`.

What the file holds is `Maker`. It is imported when the first model of its kind is loaded.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from gpufair.protocol.families import family
from gpufair.provider.inference.families.parts import Keep


class Maker(Protocol):
    """What a family's file holds: how its models are loaded."""

    def load(self, folder: Path, dtype: torch.dtype, keep: Keep) -> Any:
        """The pipeline in a folder whose digest was checked, its parts in memory, those that may be in `dtype`.

        Each part comes from `keep`, so that models share what they have in common. It is made by a class of diffusers
        or transformers, from safetensors alone. `RefusedError` says what is wrong with the folder; any other
        exception means that it can't be loaded.
        """


def of(pipeline: str) -> Maker:
    """Who makes pictures with models of this pipeline class."""
    return cast("Maker", import_module(f"{__name__}.{family(pipeline).maker}"))
