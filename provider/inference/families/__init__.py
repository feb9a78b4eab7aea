"""Kinds of models. Rule: a family is one file beside this one, and one line in `protocol/families.py`.

What the file holds is `Maker`. It is imported when the first model of its kind is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from PIL import Image

from gpufair.protocol.families import family
from gpufair.protocol.frames import Run
from gpufair.provider.inference.families.parts import Keep
from gpufair.provider.inference.request import Wanted

if TYPE_CHECKING:
    from gpufair.provider.inference.rows import Row
    from gpufair.provider.inference.words import Words


class Maker(Protocol):
    """What a family's file holds: how its models are loaded, and how they draw, which is done under `torch.no_grad`."""

    IS_OPEN: bool
    """Whether a row's state is all that its next step depends on: if so it can be taken up again, and replayed."""

    def load(self, folder: Path, dtype: torch.dtype, keep: Keep) -> Any:
        """The pipeline in a folder whose digest was checked, its parts in memory, those that may be in `dtype`.

        Each part comes from `keep`, so that models share what they have in common. It is made by a class of diffusers
        or transformers, from safetensors alone. `RefusedError` says what is wrong with the folder; any other
        exception means that it can't be loaded.
        """

    def read(self, words: Words, pipeline: Any, run: Run, reading: Wanted) -> torch.Tensor:
        """What the attempt's rows are given to read: its prompt's embedding, in most families."""

    def begin(
        self, pipeline: Any, run: Run, picture: int, words: torch.Tensor, device: torch.device, inputs: Sequence[bytes]
    ) -> Row:
        """Picture `picture` of the attempt, before its first step. `RefusedError` for what can't be."""

    def ask(self, pipeline: Any, rows: Sequence[Row]) -> Sequence[tuple[Any, ...]]:
        """What `step` needs for each of these rows of one key, by one call of the denoiser."""

    def step(self, row: Row, *answer: Any) -> Any:
        """Take a row a step further; what `glimpse` needs."""

    def glimpse(self, pipeline: Any, row: Row, prediction: Any) -> Image.Image | None:
        """The picture that the model has in mind after a step, if it can be told."""

    def finish(self, pipeline: Any, rows: Sequence[Row]) -> list[Image.Image | None]:
        """The pictures of rows that are done, of one key; None for one of no finite numbers."""


def named(pipeline: str) -> Maker:
    """Who makes pictures with models of this pipeline class."""
    return cast("Maker", import_module(f"{__name__}.{family(pipeline).maker}"))


def of(pipeline: Any) -> Maker:
    """Who makes pictures with this pipeline."""
    return named(type(pipeline).__name__)
