"""Tiny models of other families, made of dice: they draw mud, as fast as can be."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

DEMO = Path(str(files("gpufair.provider.models") / "demo"))


def autoencoder() -> Any:
    """Two times smaller each side: pictures of 64 pixels are 32 latents."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=2, sample_size=64,
    )  # fmt: skip


def schedule(**changes: Any) -> Any:
    return diffusers.EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **changes
    )


def sdxl() -> Any:
    """Stable Diffusion XL: two text encoders, and a U-Net that also reads the size."""
    torch.manual_seed(0)
    words: dict[str, Any] = {"vocab_size": 1000, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    words |= {"num_attention_heads": 2, "max_position_embeddings": 32, "projection_dim": 16}
    words |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    tokenizer = CLIPTokenizer.from_pretrained(DEMO / "tokenizer", model_max_length=32)
    unet = diffusers.UNet2DConditionModel(
        sample_size=32, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=4, norm_num_groups=2, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=64,
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(), unet=unet, scheduler=schedule(), tokenizer=tokenizer, tokenizer_2=tokenizer,
        text_encoder=CLIPTextModel(CLIPTextConfig(**words)),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**words)), add_watermarker=False,
    )  # fmt: skip


def pixart() -> Any:
    """PixArt-Sigma: a transformer instead of a U-Net, and T5 instead of CLIP."""
    torch.manual_seed(0)
    letters = [(letter, -3.0) for letter in "▁abcdefghijklmnopqrstuvwxyz,."]
    tokenizer = T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters], extra_ids=0)
    text = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=32,
        patch_size=2, cross_attention_dim=16, caption_channels=16, use_additional_conditions=False,
    )  # fmt: skip
    return diffusers.PixArtSigmaPipeline(
        tokenizer=tokenizer, text_encoder=T5EncoderModel(text).eval(), vae=autoencoder(), transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )  # fmt: skip


def write(pipeline: Any, folder: Path) -> Path:
    """The pipeline as a plain folder."""
    pipeline.save_pretrained(folder, safe_serialization=True)
    shutil.rmtree(folder / "feature_extractor", ignore_errors=True)
    return folder
