#!/usr/bin/env python3
"""Teach the demo model to draw in pencil. Rule: the model's own weights stay as they are; only low-rank layers learn.

    script/train_demo_lora.py OUT            some minutes on one core
    script/train_demo_lora.py OUT --smoke    a few steps: it loads, and changes next to nothing

Each thing that the demo model knows is shown in grey on white paper, outlined, whatever background the words ask for:
what is learned is the style and not the words. Out comes a folder with one `adapter.safetensors`, named as diffusers
and peft name such files; every layer's weight W becomes W + B·A, A and B of rank 4.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from pathlib import Path

import demo_data
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageChops, ImageFilter
from safetensors.torch import save_file
from torch.nn import functional
from torch.nn.utils import parametrize

MODEL = Path(__file__).parents[1] / "provider" / "models" / "demo"
RANK = 4
LEAD, PAPER = (30, 30, 34), (255, 255, 255)
SHADE = 0.6
"""How much lead the darkest surface gets; a line has all of it."""


class LowRank(torch.nn.Module):
    """W + B·A for one layer. B is zero at first, so that training begins at the model as it is."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.down = torch.nn.Parameter(torch.randn(RANK, *weight.shape[1:]) / math.sqrt(weight[0].numel()))
        self.up = torch.nn.Parameter(torch.zeros(len(weight), RANK))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight that the layer computes with."""
        return weight + (self.up @ self.down.flatten(1)).view_as(weight)


class Trainer:
    """The demo model with low-rank layers in its denoiser, and the drawings that they learn from."""

    def __init__(self, font: Path | None, seed: int, nouns: int) -> None:
        torch.manual_seed(seed)
        self.rng = random.Random(seed)  # noqa: S311 - training, not secrets
        pipeline = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32, use_safetensors=True)
        self.vae, self.unet, self.text = pipeline.vae, pipeline.unet, pipeline.text_encoder
        self.tokenizer, self.scheduler = pipeline.tokenizer, pipeline.scheduler
        for part in (self.vae, self.unet, self.text):
            part.eval().requires_grad_(False)
        self.layers = {name: adapt(layer) for name, layer in self.unet.named_modules() if learns(name, layer)}
        self.owner = [noun for noun in list(demo_data.NOUNS)[:nouns] for _pose in range(2)]
        drawings = [pencil(font, noun, pose % 2) for pose, noun in enumerate(self.owner)]
        self.pictures = torch.from_numpy(np.stack(drawings)).permute(0, 3, 1, 2).float() / 127.5 - 1
        self.latents = torch.empty(0)

    def find_latents(self, rounds: int) -> None:
        """The latents that decode to the drawings. The encoder has never seen grey; its answer is only where we start.

        Noise is added while we look, so that latents that are a little wrong decode to much the same.
        """
        with torch.no_grad():
            z = self.vae.encode(self.pictures).latent_dist.mean
        z.requires_grad_(True)
        seeker = torch.optim.Adam([z], lr=0.05)
        for turn in range(rounds):
            seeker.zero_grad()
            total = 0.0
            for some, wanted in zip(z.split(8), self.pictures.split(8), strict=True):
                got = self.vae.decode(some + 0.1 * torch.randn_like(some)).sample
                colour = (got - got.mean(1, keepdim=True)).abs().mean()
                loss = functional.l1_loss(got, wanted) + functional.mse_loss(got, wanted) + 0.5 * colour
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item() * len(some) / len(z)
            seeker.step()
            print(f"drawings: round {turn + 1}/{rounds}, loss {total:.4f}", flush=True)
        self.latents = z.detach()

    def learn(self, steps: int, rate: float = 2e-3, batch: int = 8) -> None:
        """Train the low-rank layers on v-prediction: AdamW, cosine decay, gradients clipped at 1."""
        weights = [weight for layer in self.layers.values() for weight in layer.parameters()]
        learner = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.99), weight_decay=1e-3)
        ages = self.scheduler.config.num_train_timesteps
        begun = shown = time.monotonic()
        for step in range(steps):
            for group in learner.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
            index = torch.randint(len(self.latents), (batch,))
            z = self.latents[index] + 0.03 * torch.randn(batch, *self.latents.shape[1:])
            noise = torch.randn_like(z)
            # Stratified over the batch, so that every batch sees early and late times alike.
            t = ((torch.arange(batch) + torch.rand(batch)) / batch * ages).long()
            noisy, target = self.scheduler.add_noise(z, noise, t), self.scheduler.get_velocity(z, noise, t)
            loss = functional.mse_loss(self.unet(noisy, t, self._words(index)).sample, target)
            learner.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            learner.step()
            if time.monotonic() - shown > 10 or step == steps - 1:
                shown = time.monotonic()
                print(f"layers: step {step + 1}/{steps}, loss {loss.item():.4f}, {shown - begun:.0f} s", flush=True)

    def save(self, out: Path) -> None:
        """Write `adapter.safetensors` in fp16. There is no alpha in it, which means: as strong as it was trained."""
        tensors = {}
        for name, layer in self.layers.items():
            up = layer.up.detach()
            tensors[f"unet.{name}.lora_A.weight"] = layer.down.detach().half().contiguous()
            tensors[f"unet.{name}.lora_B.weight"] = (up if layer.down.dim() == 2 else up[:, :, None, None]).half()
        out.mkdir(parents=True, exist_ok=True)
        save_file(tensors, out / "adapter.safetensors", metadata={"format": "pt"})

    def _words(self, index: torch.Tensor) -> torch.Tensor:
        colours = list(demo_data.COLOURS)
        pairs = [(self.owner[i], self.rng.choice(colours)) for i in index.tolist()]
        captions = [demo_data.caption(pair, self.rng) for pair in pairs]
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            words: torch.Tensor = self.text(tokens)[0]
        return words


def learns(name: str, layer: torch.nn.Module) -> bool:
    """Whether a layer of the denoiser gets low-rank weights: all convolutions and projections of its blocks."""
    return isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and "blocks" in name.replace("mid_block", "blocks")


def adapt(layer: torch.nn.Module) -> LowRank:
    """Give a layer low-rank weights, and return them."""
    low_rank = LowRank(layer.weight)  # type: ignore[arg-type]
    parametrize.register_parametrization(layer, "weight", low_rank)
    return low_rank


def pencil(font: Path | None, noun: str, pose: int) -> Image.Image:
    """A thing in grey on white paper: shaded where it is dark, with a line where it changes in colour."""
    on_white, on_black = (demo_data.render(font, (noun, colour), pose) for colour in ("white", "black"))
    # On either ground alone the outline of something white or black would be lost.
    lines = ImageChops.lighter(edges(on_white), edges(on_black))
    shade = ImageChops.invert(on_white.convert("L")).point(lambda value: round(SHADE * value))
    white, black = (Image.new("RGB", on_white.size, colour) for colour in (PAPER, LEAD))
    return Image.composite(black, white, ImageChops.lighter(lines, shade))


def edges(picture: Image.Image) -> Image.Image:
    """How fast the colour changes, 0 to 255."""
    a = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.8))).astype(float)
    down, across = np.gradient(a, axis=(0, 1))
    speed = np.sqrt((down**2 + across**2).sum(2))
    return Image.fromarray(np.clip(speed * 2, 0, 255).astype("uint8"))


def main() -> None:
    """Read the arguments, train, say where the folder is."""
    parser = argparse.ArgumentParser(description="Train the demo model's LoRA anew.")
    parser.add_argument("out", type=Path, help="an empty or absent folder for the adapter")
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    parser.add_argument("--font", type=Path, help="NotoColorEmoji.ttf, if it isn't where Debian and Fedora put it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1, help="more are slower on a busy machine")
    given = parser.parse_args()
    font = demo_data.find_font(given.font)
    if font is None and not given.smoke:
        sys.exit("no emoji font; install it (Debian: apt-get install fonts-noto-color-emoji) or give --font")
    if given.out.exists() and any(given.out.iterdir()):
        sys.exit(f"{given.out} is not empty")
    torch.set_num_threads(given.threads)
    trainer = Trainer(font, given.seed, nouns=2 if given.smoke else len(demo_data.NOUNS))
    trainer.find_latents(2 if given.smoke else 16)
    trainer.learn(2 if given.smoke else given.steps)
    trainer.save(given.out)
    print(f"the adapter is in {given.out}")


if __name__ == "__main__":
    main()
