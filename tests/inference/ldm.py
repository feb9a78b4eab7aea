"""A single-file checkpoint out of a diffusers folder: the names that Stable Diffusion's own code gives the tensors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
EDGES = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
TEXT = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "fc1": "c_fc", "fc2": "c_proj", "self_attn": "attn"}


def single_file(folder: Path, file: Path, *, open_clip: bool = False) -> Path:
    """Write the pipeline in `folder` to `file` as one checkpoint, with CLIP's or OpenCLIP's names."""
    whole: Tensors = {"alphas_cumprod": torch.ones(4)}  # as the originals have, and nobody needs
    for part, rename in (("unet", _unet(folder)), ("vae", _vae(folder))):
        for name, tensor in _load(folder / part).items():
            whole[rename(name)] = tensor
    text = _load(folder / "text_encoder")
    whole |= _open_clip(text) if open_clip else {f"cond_stage_model.transformer.{n}": t for n, t in text.items()}
    save_file({name: tensor.contiguous() for name, tensor in whole.items()}, file)
    return file


def _load(part: Path) -> Tensors:
    [file] = part.glob("*.safetensors")
    return load_file(file)


def _replaced(name: str, words: dict[str, str]) -> str:
    for ours, theirs in words.items():
        name = re.sub(rf"(^|\.){re.escape(ours)}\.", rf"\g<1>{theirs}.", name, count=1)
    return name


def _unet(folder: Path):  # type: ignore[no-untyped-def]
    layers = json.loads((folder / "unet" / "config.json").read_text())["layers_per_block"]
    names = _load(folder / "unet")

    def rename(name: str) -> str:
        found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
        if found is None:
            middle = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name)
            if middle is None:
                return "model.diffusion_model." + _replaced(name, EDGES)
            kind, number, rest = middle.groups()
            place = 2 * int(number) if kind == "resnets" else 1
            return f"model.diffusion_model.middle_block.{place}." + (
                _replaced(rest, RESNET) if kind == "resnets" else rest
            )
        side, block, kind, layer, rest = found.groups()
        number = int(block) * (layers + 1) + (layers if "samplers" in kind else int(layer))
        blocks = f"input_blocks.{number + 1}" if side == "down" else f"output_blocks.{number}"
        if kind == "downsamplers":
            return f"model.diffusion_model.{blocks}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            place = 2 if f"up_blocks.{block}.attentions.0.norm.weight" in names else 1
            return f"model.diffusion_model.{blocks}.{place}.{rest}"
        place, rest = (0, _replaced(rest, RESNET)) if kind == "resnets" else (1, rest)
        return f"model.diffusion_model.{blocks}.{place}.{rest}"

    return rename


def _vae(folder: Path):  # type: ignore[no-untyped-def]
    last = len(json.loads((folder / "vae" / "config.json").read_text())["up_block_types"]) - 1

    def rename(name: str) -> str:
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{last - int(m[1])}.block", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        if "mid_block.attentions.0" in name:
            name = _replaced(name.replace("mid_block.attentions.0", "mid.attn_1"), VAE_ATTENTION)
        return f"first_stage_model.{name}"

    return rename


def _open_clip(text: Tensors) -> Tensors:
    made: Tensors = {}
    for name, tensor in text.items():
        inside = name.removeprefix("text_model.")
        if inside == "embeddings.position_embedding.weight":
            made["positional_embedding"] = tensor
        elif inside.startswith("encoder.layers."):
            inside = _replaced(inside.replace("encoder.layers.", "transformer.resblocks."), TEXT)
            made[inside.replace("mlp.fc", "mlp.c_fc")] = tensor
        else:
            made[inside.replace("embeddings.", "").replace("final_layer_norm", "ln_final")] = tensor
    for stem in {name.split(".q_proj.")[0] for name in made if ".q_proj." in name}:
        for kind in ("weight", "bias"):
            made[f"{stem}.in_proj_{kind}"] = torch.cat([made.pop(f"{stem}.{x}_proj.{kind}") for x in "qkv"])
    return {f"cond_stage_model.model.{name}": tensor for name, tensor in made.items()}
