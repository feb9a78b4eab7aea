"""Stable Diffusion 1.x and 2.x and their kin. Rule: our own loop draws, diffusers gives the parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from gpufair.protocol.frames import FailCode, Run
from gpufair.provider.inference import diffusion, rows
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.families import parts
from gpufair.provider.inference.families.parts import Keep
from gpufair.provider.inference.request import Wanted
from gpufair.provider.inference.rows import Row
from gpufair.provider.inference.words import Words

IS_OPEN = True
begin, step = rows.begin, rows.step
glimpse, finish = diffusion.glimpse, diffusion.finish


def load(folder: Path, dtype: torch.dtype, keep: Keep) -> Any:
    """The parts put together. A safety checker in the folder is not loaded: the provider doesn't judge pictures."""
    unet = parts.model(UNet2DConditionModel, folder / "unet", dtype, keep)
    if unet.config.time_cond_proj_dim is not None:
        raise RefusedError(FailCode.MODEL_BAD, "a model with built-in guidance is not supported yet")
    return StableDiffusionPipeline(
        unet=unet,
        # Pictures of well-known models overflow an fp16 VAE.
        vae=parts.model(AutoencoderKL, folder / "vae", torch.float32, keep),
        text_encoder=parts.model(CLIPTextModel, folder / "text_encoder", dtype, keep),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        scheduler=parts.scheduler(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def read(words: Words, pipeline: Any, run: Run, reading: Wanted) -> torch.Tensor:
    """The prompt's embedding, remembered from job to job."""
    return words.of(pipeline, run, reading)


def ask(pipeline: Any, several: Sequence[Row]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One call of the U-Net."""
    return rows.ask(pipeline.unet, several)
