"""From a single-file checkpoint to a folder. Rule: the file gives numbers; names, sizes and all else are the base's.

    python -m gpufair.provider.inference.convert FILE BASE TARGET

FILE is a Stable Diffusion 1.x or 2.x checkpoint as safetensors, BASE a diffusers folder of the same make, TARGET an
empty folder. Ends with 0, or with `REFUSED` and the reason on stdout. A part whose numbers are all the base's becomes
the base's own file, so that a store holds it once.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import diffusers
import torch
from diffusers.loaders import single_file_utils as ldm
from safetensors.torch import load_file, save_file

from gpufair.protocol.content import counts
from gpufair.protocol.frames import FailCode
from gpufair.provider.inference import folder
from gpufair.provider.inference.engine import RefusedError

REFUSED: Final = 65
Tensors = dict[str, torch.Tensor]

FLOATS: Final = (torch.float32, torch.float16, torch.bfloat16)
BUFFER: Final = "position_ids"
"""How the name ends of a list 0, 1, 2, … that some releases saved with a text encoder: no weight, and not needed."""
OLD_ATTENTION: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What older releases called an autoencoder's attention; both load."""


def convert(file: Path, base: Path, target: Path) -> None:
    """Write the checkpoint in `file` to `target` as a folder like `base`. `RefusedError` if it is of another make."""
    checkpoint = load_file(file)
    for source in sorted(base.rglob("*")):
        inside = source.relative_to(base)
        if source.is_file() and counts(source.name) and not _is_replaced(inside):
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / inside)
    for part, (name, read) in PARTS.items():
        own = _own(base / part)
        made = _fitted(part, read(checkpoint, folder.read_json(base / part / "config.json")), own)
        file_of_base = base / part / name
        if file_of_base.is_file() and _same(made, load_file(file_of_base)):
            shutil.copyfile(file_of_base, target / part / name)
        else:
            save_file(made, target / part / name, metadata={"format": "pt"})


def _unet(checkpoint: Tensors, config: Mapping[str, Any]) -> Tensors:
    made: Tensors = ldm.convert_ldm_unet_checkpoint(checkpoint, config)
    return made


def _vae(checkpoint: Tensors, config: Mapping[str, Any]) -> Tensors:
    made: Tensors = ldm.convert_ldm_vae_checkpoint(checkpoint, config)
    return made


def _text(checkpoint: Tensors, config: Mapping[str, Any]) -> Tensors:
    """The text encoder: CLIP as in 1.x, or OpenCLIP as in 2.x."""
    made: Tensors
    if any(name.startswith("cond_stage_model.model.") for name in checkpoint):
        encoder = SimpleNamespace(config=SimpleNamespace(hidden_size=config["hidden_size"]))
        made = ldm.convert_open_clip_checkpoint(encoder, checkpoint, prefix="cond_stage_model.model.")
    else:
        made = ldm.convert_ldm_clip_checkpoint(checkpoint)
    return made


PARTS: Final[dict[str, tuple[str, Callable[[Tensors, Mapping[str, Any]], Tensors]]]] = {
    "unet": ("diffusion_pytorch_model.safetensors", _unet),
    "vae": ("diffusion_pytorch_model.safetensors", _vae),
    "text_encoder": ("model.safetensors", _text),
}


def _is_replaced(inside: Path) -> bool:
    """Whether a file of the base holds weights that the checkpoint brings, or lists such files."""
    return inside.parts[0] in PARTS and ".safetensors" in inside.name


def _own(part: Path) -> dict[str, tuple[str, torch.Size]]:
    """What the base's part has: by its name of today, the name in the base's files, and the shape."""
    found = {}
    for file in sorted(part.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            if not name.endswith(BUFFER):
                found[_today(name)] = name, tensor.shape
    return found


def _fitted(part: str, made: Tensors, own: Mapping[str, tuple[str, torch.Size]]) -> Tensors:
    """The part's tensors under the base's names. `RefusedError` unless they are the same ones, of the same shapes."""
    made = {_today(name): tensor for name, tensor in made.items() if not name.endswith(BUFFER)}
    for verb, names in (("lacks", own.keys() - made.keys()), ("has no place for", made.keys() - own.keys())):
        if names:
            who = "the checkpoint" if verb == "lacks" else "the base"
            few = ", ".join(sorted(names)[:3])
            raise RefusedError(FailCode.MODEL_BAD, f"{who} {verb} {len(names)} tensors of the {part}, such as {few}")
    fitted: Tensors = {}
    for name, (called, shape) in own.items():
        tensor = made[name]
        if _without_window(tensor.shape) == _without_window(shape):
            tensor = tensor.reshape(shape)  # a linear module, or a convolution of one pixel: the same numbers
        if tensor.shape != shape or tensor.dtype not in FLOATS:
            what = f"{part}: {name} is {tuple(tensor.shape)} {tensor.dtype}, the base's is {tuple(shape)}"
            raise RefusedError(FailCode.MODEL_BAD, what)
        fitted[called] = tensor.contiguous()
    return fitted


def _without_window(shape: torch.Size) -> tuple[int, ...]:
    return tuple(shape[:2]) if all(side == 1 for side in shape[2:]) else tuple(shape)


def _today(name: str) -> str:
    """A tensor's name without what differs between releases of the libraries."""
    path = name.removeprefix("text_model.").split(".")
    if "mid_block" in path and "attentions" in path:
        path = [OLD_ATTENTION.get(word, word) for word in path]
    return ".".join(path)


def _same(made: Tensors, own: Tensors) -> bool:
    own = {name: tensor for name, tensor in own.items() if not name.endswith(BUFFER)}
    return made.keys() == own.keys() and all(
        tensor.dtype == own[name].dtype and torch.equal(tensor, own[name]) for name, tensor in made.items()
    )


def main(arguments: list[str]) -> int:
    """The command; how it ends."""
    file, base, target = map(Path, arguments)
    diffusers.logging.set_verbosity_error()
    try:
        convert(file, base, target)
    except RefusedError as err:
        print(err.message)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
