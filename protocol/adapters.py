"""What a LoRA changes. Rule: the names and shapes of its tensors say it all, or it is no LoRA that we know.

A low-rank adapter holds two small matrices for each weight that it changes: `down` (rank x inputs) and `up` (outputs x
rank), and maybe `alpha`, a number: the change is up · down · alpha / rank. Diffusers, peft and kohya each name them in
their own way; a module is called here by its path with `_` between the names, which is all that kohya's names keep.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FILE: Final = "adapter.safetensors"
"""The one file of an adapter's folder."""

Shape = tuple[int, ...]

_DOWN, _UP, _ALPHA = "down", "up", "alpha"
_ENDINGS: Final = (
    (".lora_A.default.weight", _DOWN),
    (".lora_B.default.weight", _UP),
    (".lora_A.weight", _DOWN),
    (".lora_B.weight", _UP),
    (".lora_linear_layer.down.weight", _DOWN),
    (".lora_linear_layer.up.weight", _UP),
    (".lora.down.weight", _DOWN),
    (".lora.up.weight", _UP),
    (".lora_down.weight", _DOWN),
    (".lora_up.weight", _UP),
    ("_lora.down.weight", _DOWN),
    ("_lora.up.weight", _UP),
    ("_lora.alpha", _ALPHA),
    (".alpha", _ALPHA),
)
_PARTS: Final = (
    ("lora_unet_", "unet"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te_", "text_encoder"),
    ("lora_transformer_", "transformer"),
    ("unet.", "unet"),
    ("text_encoder.", "text_encoder"),
    ("text_encoder_2.", "text_encoder_2"),
    ("transformer.", "transformer"),
)
_BARE: Final = (
    ("down_blocks.", "unet"),
    ("mid_block.", "unet"),
    ("up_blocks.", "unet"),
    ("text_model.", "text_encoder"),
    ("conv_", "unet"),
    ("time_embedding.", "unet"),
    ("transformer_blocks.", "transformer"),
)
"""How names begin that say no part: the module itself tells it."""
METADATA: Final = "lora_adapter_metadata"
"""Where newer diffusers say how peft was set, as JSON in the file's header."""
_OTHER_MEANINGS: Final = ("use_dora", "use_rslora", "alpha_pattern", "lora_bias")
_ALPHA_MAX: Final = 1_000_000
_WRAPPED: Final = "base_model.model."


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A module of a model: the part's folder ("unet"), and its path there with `_` between the names."""

    part: str
    module: str


@dataclass(frozen=True, slots=True)
class Change:
    """How one module's weight is changed: the names of the tensors that say so (`alpha` may be empty), and sizes.

    `kernel` is the size of a convolution's window, empty for a linear module and for a window of one pixel.
    """

    down: str
    up: str
    alpha: str
    rank: int
    inputs: int
    outputs: int
    kernel: Shape

    def suits(self, weight: Shape) -> bool:
        """Whether a weight of this shape can be changed so."""
        return len(weight) >= 2 and (self.outputs, self.inputs, self.kernel) == (*weight[:2], _window(weight))


def is_adapter(names: Mapping[str, object]) -> bool:
    """Whether tensors of these names look like a LoRA: most models have none of them."""
    return any(_role(name)[1] in (_DOWN, _UP) for name in names)


def changes(shapes: Mapping[str, Shape]) -> dict[Place, Change]:
    """What an adapter with these tensors changes. `ValueError` names the tensor that is not understood."""
    found: dict[Place, _Parts] = {}
    for name in sorted(shapes):
        stem, role = _role(name)
        place = _place(stem)
        if not role or place is None:
            raise ValueError(f"the tensor {name[:120]!r} is no part of a LoRA that is known here")
        parts = found.setdefault(place, _Parts())
        if role in parts.names:
            raise ValueError(f"{name[:120]!r} and {parts.names[role][:120]!r} are the same part of one change")
        parts.names[role] = name
    if not found:
        raise ValueError("there is no tensor in it")
    return {place: _change(parts.names, shapes) for place, parts in found.items()}


def alphas(metadata: Mapping[str, str]) -> dict[str, float]:
    """Peft's alpha for each part, where the texts in the file's header tell one.

    `ValueError` for settings that give the tensors another meaning.
    """
    try:
        told = json.loads(metadata.get(METADATA, "{}"))
    except (ValueError, RecursionError) as err:
        raise ValueError(f"its {METADATA} is no JSON") from err
    found = {}
    for name, value in told.items() if isinstance(told, dict) else ():
        part, _, key = name.partition(".")
        if value and key in _OTHER_MEANINGS:
            raise ValueError(f"it was made with {key}, which is not known here")
        if key == "lora_alpha":
            if type(value) not in (int, float) or not 0 < value < _ALPHA_MAX:
                raise ValueError(f"its {name} is no number from 0 to {_ALPHA_MAX}")
            found[part] = float(value)
    return found


def places(part: str, shapes: Mapping[str, Shape]) -> dict[Place, Shape]:
    """The weights in a part of a model that an adapter could change."""
    return {
        _flat(part, name.removesuffix(".weight")): shape
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) >= 2
    }


def fits(adapter: Mapping[Place, Change], model: Mapping[Place, Shape]) -> bool:
    """Whether all that the adapter changes is there and has the right shape: a part of it would be another picture."""
    return all(place in model and change.suits(model[place]) for place, change in adapter.items())


@dataclass(slots=True)
class _Parts:
    names: dict[str, str] = field(default_factory=dict)


def _change(names: Mapping[str, str], shapes: Mapping[str, Shape]) -> Change:
    """The change that these tensors make up, if they agree. `ValueError` otherwise."""
    if _DOWN not in names or _UP not in names:
        raise ValueError(f"{next(iter(names.values()))[:120]!r} stands alone: its other half is missing")
    down, up, alpha = names[_DOWN], names[_UP], names.get(_ALPHA, "")
    ins, outs = shapes[down], shapes[up]
    if len(ins) < 2 or len(outs) < 2 or ins[0] != outs[1] or _window(outs) or ins[0] < 1:
        raise ValueError(f"{down[:120]!r} and {up[:120]!r} have shapes {ins} and {outs}: they can't be multiplied")
    if alpha and any(side != 1 for side in shapes[alpha]):
        raise ValueError(f"{alpha[:120]!r} is no single number")
    return Change(down, up, alpha, ins[0], ins[1], outs[0], _window(ins))


def _role(name: str) -> tuple[str, str]:
    """A tensor's name without its ending, and what the ending says."""
    for ending, role in _ENDINGS:
        if name.endswith(ending):
            stem = name.removesuffix(ending)
            if ending.startswith("_lora"):  # diffusers' attention processors of old
                stem = stem.replace(".processor.", ".")
                stem += ".0" if stem.endswith(".to_out") else ""
            return stem, role
    return name, ""


def _place(stem: str) -> Place | None:
    stem = stem.removeprefix(_WRAPPED)
    for beginning, part in _PARTS:
        if stem.startswith(beginning):
            return _flat(part, stem.removeprefix(beginning).removeprefix(_WRAPPED))
    return next((_flat(part, stem) for beginning, part in _BARE if stem.startswith(beginning)), None)


def _flat(part: str, module: str) -> Place:
    # Releases of transformers differ in whether a text encoder's paths begin with this name.
    return Place(part, module.replace(".", "_").removeprefix("text_model_"))


def _window(shape: Shape) -> Shape:
    return () if all(side == 1 for side in shape[2:]) else shape[2:]
