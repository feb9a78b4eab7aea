"""LoRAs for the demo model, made of dice: the same change under the names of peft, of kohya and of diffusers of old."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from gpufair.protocol.adapters import FILE
from gpufair.protocol.content import FileDigest, model_digest

ATTENTION = "up_blocks.0.attentions.0.transformer_blocks.0.attn2"
UNET = (f"{ATTENTION}.to_q", f"{ATTENTION}.to_out.0", "down_blocks.1.resnets.0.conv1", "mid_block.resnets.0.conv2")
TEXT = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1")

Change = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""For each module of a part, `part:path`: up (outputs, rank, …) and down (rank, inputs, …)."""


def dice(pipeline: Any, seed: int = 1, rank: int = 3, *, text: bool = False, strength: float = 0.05) -> Change:
    """A change of some of the denoiser's weights, of the text encoder's too if asked for."""
    generator = torch.Generator().manual_seed(seed)
    change = {}
    for part, names in (("unet", UNET), ("text_encoder", TEXT if text else ())):
        for name in names:
            shape = weight(pipeline, f"{part}:{name}").shape
            up = torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=generator)
            down = strength * torch.randn(rank, *shape[1:], generator=generator)
            change[f"{part}:{name}"] = up, down
    return change


def weight(pipeline: Any, place: str) -> torch.nn.Parameter:
    """The weight of the module at `part:path`."""
    part, _, name = place.partition(":")
    module = pipeline.components[part].get_submodule(name)
    assert isinstance(module.weight, torch.nn.Parameter)
    return module.weight


def peft(change: Change) -> dict[str, torch.Tensor]:
    """As peft and today's diffusers name it."""
    named = {}
    for place, (up, down) in change.items():
        part, _, name = place.partition(":")
        path = f"{part}.text_model.{name}" if part == "text_encoder" else f"{part}.{name}"
        named |= {f"{path}.lora_A.weight": down, f"{path}.lora_B.weight": up}
    return named


def kohya(change: Change, alpha: float | None = None) -> dict[str, torch.Tensor]:
    """As kohya's scripts name it, which most LoRAs for Stable Diffusion follow."""
    named = {}
    for place, (up, down) in change.items():
        part, _, name = place.partition(":")
        path = ("lora_te_text_model_" if part == "text_encoder" else "lora_unet_") + name.replace(".", "_")
        named |= {f"{path}.lora_down.weight": down, f"{path}.lora_up.weight": up}
        named |= {f"{path}.alpha": torch.tensor(alpha)} if alpha is not None else {}
    return named


def old(change: Change) -> dict[str, torch.Tensor]:
    """As diffusers named it when attention processors held it."""
    named = {}
    for place, (up, down) in change.items():
        part, _, name = place.partition(":")
        if "attn" in name and part == "unet":
            stem, _, last = name.rpartition(".attn2.")
            path = f"{part}.{stem}.attn2.processor.{last.removesuffix('.0')}_lora"
            named |= {f"{path}.down.weight": down, f"{path}.up.weight": up}
        else:
            path = f"{part}.text_model.{name}.lora_linear_layer" if part == "text_encoder" else f"{part}.{name}.lora"
            named |= {f"{path}.down.weight": down, f"{path}.up.weight": up}
    return named


def write(folder: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A folder with one `adapter.safetensors`; its digest."""
    folder.mkdir(parents=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / FILE, metadata)
    return digest_of(folder)


def digest_of(folder: Path) -> bytes:
    """The digest of such a folder."""
    data = (folder / FILE).read_bytes()
    return model_digest([FileDigest(FILE, len(data), hashlib.sha256(data).digest())])
