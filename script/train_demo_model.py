#!/usr/bin/env python3
"""Train the demo model anew, from nothing but an emoji font. Rule: one seed, one core, no pretrained weights.

    script/train_demo_model.py OUT            the whole recipe: some hours on one core
    script/train_demo_model.py OUT --smoke    every stage for a few steps: it loads, and draws mud

The stages: an autoencoder (64 by 64 pixels to 16 by 16 by 4 latents) on crops, then on whole pictures; its latents
whitened; then denoiser and text encoder together; last the decoder once more, on what the denoiser really gives it.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo_data
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TOKENS = 32
NOISE_STEPS = 1000


@dataclass(frozen=True)
class Plan:
    """Steps of each stage, and the share of the pairs that is used."""

    crops: int = 2400
    whole: int = 800
    decoder: int = 1500
    denoiser: int = 12_000
    polish: int = 600
    pairs: int = 10_000


SMOKE = Plan(crops=3, whole=2, decoder=2, denoiser=3, polish=2, pairs=16)


class Trainer:
    """The parts in training, and the data they learn from."""

    def __init__(self, plan: Plan, font: Path | None, out: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self.plan, self.out, self.rng = plan, out, random.Random(seed)  # noqa: S311 - training, not secrets
        self.pairs = demo_data.pairs()[: plan.pairs]
        poses = [(pair, demo_data.render(font, pair, pose)) for pair in self.pairs for pose in range(2)]
        self.owner = [pair for pair, _picture in poses]
        stack = np.stack([np.asarray(picture) for _pair, picture in poses])
        self.pictures = torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 127.5 - 1
        demo_data.write_tokenizer(out / "tokenizer")
        self.tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer", model_max_length=TOKENS)
        self.vae, self.unet, self.text = autoencoder(), denoiser(), text_encoder(len(self.tokenizer))
        self.scheduler = noise_schedule()
        self.latents = torch.empty(0)
        self.loss = torch.empty(0)

    def autoencode(self) -> None:
        """Train encoder and decoder, first on crops of 32 pixels (4 times more steps a second), then on all of it."""
        for name, steps, rate, batch, side in (
            ("crops", self.plan.crops, 2e-3, 8, 32),
            ("whole", self.plan.whole, 1.3e-3, 6, demo_data.SIDE),
        ):
            for x in self._stage(name, steps, rate, [self.vae], batch, side):
                posterior = self.vae.encode(x).latent_dist
                z = posterior.sample()
                z = z + 0.1 * torch.rand(len(z), 1, 1, 1) * torch.randn_like(z)
                drift = posterior.kl().mean() / z[0].numel()
                self.loss = picture_loss(self.vae.decode(z).sample, x) + 1e-4 * drift

    def whiten(self) -> None:
        """Scale each latent channel to mean 0 and deviation 1, folded into the 1 by 1 convolutions at either side."""
        with torch.no_grad():
            z = self._encode()
            mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
            quant, post = self.vae.quant_conv, self.vae.post_quant_conv
            quant.weight[:4] /= std[:, None, None, None]
            quant.bias[:4] = (quant.bias[:4] - mean) / std
            quant.bias[4:] -= 2 * std.log()  # the log variances of the same latents
            post.bias += post.weight[:, :, 0, 0] @ mean
            post.weight *= std[None, :, None, None]
            self.latents = self._encode()

    def decode_noisy(self) -> None:
        """Train the decoder alone on latents that are a little wrong, as a denoiser's always are."""
        for index in self._stage("decoder", self.plan.decoder, 1e-3, [self.vae.decoder], 6, None):
            z = self.latents[index]
            z = z + 0.1 * torch.rand(len(z), 1, 1, 1) * torch.randn_like(z)
            self.loss = picture_loss(self.vae.decode(z).sample, self.pictures[index])

    def denoise(self) -> None:
        """Train denoiser and text encoder together on v-prediction."""
        for index in self._stage("denoiser", self.plan.denoiser, 5e-4, [self.unet, self.text], 8, None):
            z = self.latents[index] + 0.03 * torch.randn_like(self.latents[index])
            noise = torch.randn_like(z)
            # Stratified over the batch, so that every batch sees early and late times alike.
            t = ((torch.arange(len(z)) + torch.rand(len(z))) / len(z) * NOISE_STEPS).long()
            noisy, target = self.scheduler.add_noise(z, noise, t), self.scheduler.get_velocity(z, noise, t)
            self.loss = functional.mse_loss(self.unet(noisy, t, self._words(index)).sample, target)

    def polish(self) -> None:
        """Train the decoder on the denoiser's own one-step guesses, which is what it will be given."""
        for index in self._stage("polish", self.plan.polish, 6e-4, [self.vae.decoder], 6, None):
            z = self.latents[index]
            with torch.no_grad():
                t = torch.randint(30, 450, (len(z),))
                noisy = self.scheduler.add_noise(z, torch.randn_like(z), t)
                share = self.scheduler.alphas_cumprod[t][:, None, None, None]
                guess = share.sqrt() * noisy - (1 - share).sqrt() * self.unet(noisy, t, self._words(index)).sample
            guessed = torch.rand(len(z), 1, 1, 1) < 2 / 3
            z = torch.where(guessed, guess, z + 0.4 * torch.rand(len(z), 1, 1, 1) * torch.randn_like(z))
            self.loss = picture_loss(self.vae.decode(z).sample, self.pictures[index])

    def save(self) -> None:
        """Write a plain pipeline folder in fp16 safetensors."""
        pipeline = StableDiffusionPipeline(
            vae=self.vae.half(), text_encoder=self.text.half(), tokenizer=self.tokenizer, unet=self.unet.half(),
            scheduler=self.scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipeline.save_pretrained(self.out, safe_serialization=True)
        demo_data.write_tokenizer(self.out / "tokenizer")  # the two plain files, beside what the library writes

    def _encode(self) -> torch.Tensor:
        return torch.cat([self.vae.encode(part).latent_dist.mean for part in self.pictures.split(32)])

    def _words(self, index: torch.Tensor) -> torch.Tensor:
        captions = [demo_data.caption(self.owner[i], self.rng) for i in index.tolist()]
        tokens = self.tokenizer(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
        words: torch.Tensor = self.text(tokens.input_ids)[0]
        return words

    def _stage(
        self, name: str, steps: int, rate: float, parts: list[Any], batch: int, side: int | None
    ) -> Iterator[Any]:
        """Steps of one stage: yields a batch (pictures cut to `side`, or indices), then learns from `self.loss`.

        AdamW, cosine decay, gradients clipped at 1; at the end the weights are the moving average (0.995) of the last.
        """
        weights = [p for part in parts for p in part.parameters()]
        learner = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.99), weight_decay=1e-3)
        average = [p.detach().clone() for p in weights]
        begun = shown = time.monotonic()
        for step in range(steps):
            for group in learner.param_groups:
                group["lr"] = rate * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))
            index = torch.randint(len(self.pictures), (batch,))
            yield index if side is None else self._cut(self.pictures[index], side)
            learner.zero_grad()
            self.loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            learner.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, weights, 1 - min(0.995, (1 + step) / (10 + step)))
            if time.monotonic() - shown > 10 or step == steps - 1:
                shown = time.monotonic()
                print(
                    f"{name}: step {step + 1}/{steps}, loss {self.loss.item():.4f}, {shown - begun:.0f} s", flush=True
                )
        with torch.no_grad():
            torch._foreach_copy_(weights, average)

    def _cut(self, pictures: torch.Tensor, side: int) -> torch.Tensor:
        y, x = (self.rng.randrange(0, demo_data.SIDE - side + 1, 4) for _ in range(2))
        return pictures[:, :, y : y + side, x : x + side]


def autoencoder() -> AutoencoderKL:
    """Four times smaller each side. Quiet at the start: no biases, and residual blocks that begin as nothing."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 48, 64), layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=64,
        scaling_factor=1.0, force_upcast=False, mid_block_add_attention=False,
    )  # fmt: skip
    _quiet(vae, second=0.0)
    with torch.no_grad():
        vae.quant_conv.bias[4:] = -5  # nearly no noise in the latents at first
    return vae


def denoiser() -> UNet2DConditionModel:
    """The U-Net. Few norm groups: many small ones are up to ten times slower on a CPU."""
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(64, 128, 192),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    _quiet(unet, second=0.05)
    with torch.no_grad():
        unet.conv_out.weight *= 0.02
    return unet


def text_encoder(words: int) -> CLIPTextModel:
    """Two layers are plenty for sixty words."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words, hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=TOKENS, projection_dim=128, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip


def noise_schedule() -> DDIMScheduler:
    """Ends in almost pure noise, so that plain backgrounds don't leak through it."""
    return DDIMScheduler(
        num_train_timesteps=NOISE_STEPS, beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear",
        prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1, clip_sample=False,
        set_alpha_to_one=False,
    )  # fmt: skip


def picture_loss(got: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1, half the L1 of both gradients (edges), half the squared error."""
    edges = sum(functional.l1_loss(got.diff(dim=dim), wanted.diff(dim=dim)) for dim in (2, 3))
    return functional.l1_loss(got, wanted) + 0.5 * edges + 0.5 * functional.mse_loss(got, wanted)


def _quiet(model: torch.nn.Module, second: float) -> None:
    """Start convolutions at gain 1 without biases, and the second one of each residual block `second` times that."""
    with torch.no_grad():
        for name, part in model.named_modules():
            if isinstance(part, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(part.weight, nonlinearity="linear")
                if part.bias is not None:
                    part.bias.zero_()
                if name.endswith("conv2"):
                    part.weight *= second


def main() -> None:
    """Read the arguments, run every stage, say where the folder is."""
    parser = argparse.ArgumentParser(description="Train the demo model anew.")
    parser.add_argument("out", type=Path, help="an empty or absent folder for the model")
    parser.add_argument("--smoke", action="store_true", help="every stage for a few steps only")
    parser.add_argument("--font", type=Path, help="NotoColorEmoji.ttf, if it isn't where Debian and Fedora put it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="more are slower on a busy machine")
    given = parser.parse_args()
    font = demo_data.find_font(given.font)
    if font is None and not given.smoke:
        sys.exit("no emoji font; install it (Debian: apt-get install fonts-noto-color-emoji) or give --font")
    if given.out.exists() and any(given.out.iterdir()):
        sys.exit(f"{given.out} is not empty")
    torch.set_num_threads(given.threads)
    trainer = Trainer(SMOKE if given.smoke else Plan(), font, given.out, given.seed)
    for stage in (
        trainer.autoencode,
        trainer.whiten,
        trainer.decode_noisy,
        trainer.denoise,
        trainer.polish,
        trainer.save,
    ):
        stage()
    print(f"the model is in {given.out}")


if __name__ == "__main__":
    main()
