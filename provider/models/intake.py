"""What an owner hands in. Rule: what a thing is, its content says; an option only says what the content can't.

A folder is a diffusers model, or an adapter as `export` writes one; a file is a LoRA, or a whole checkpoint that is to
become a folder like another model's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpufair.protocol import adapters
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.provider.models import checks, single, tensors
from gpufair.provider.models.about import StoredModel, card_in
from gpufair.provider.models.store import ModelStore

LIKE_HINT = "name a model of the same make, in the store or a folder: --like MODEL"

PEFT: Final = "adapter_config.json"
"""Where peft, by itself, says how a LoRA is scaled."""
NAMELESS: Final = ("adapter", "pytorch_lora_weights")
"""What programs call every LoRA: the folder's name says more."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the owner says of it: name, licence, card (each may be empty), and whether it is an adapter for sure."""

    name: str = ""
    licence: str = ""
    card: str = ""
    adapter: bool = False


def take(store: ModelStore, source: Path, told: Told, like: Path | None = None) -> StoredModel:
    """Take a folder or a file into the store. `like` is the folder of the model that a single file is to be like.

    `PeerError` says what is wrong with what was handed in, `LocalError` what is wrong with the order or our disk.
    """
    if source.is_dir():
        return _take_folder(store, source, told, like)
    checks.regular(source)
    names = tensors.read_header(source).shapes
    if told.adapter or adapters.is_adapter(names):
        if like is not None:
            raise LocalError(Fault.MALFORMED, f"{source.name} is an adapter: --like is for whole checkpoints")
        return _take_adapter(store, source, told)
    if single.is_checkpoint(names):
        return _take_checkpoint(store, source, told, like)
    some = ", ".join(sorted(names)[:2]) or "nothing"
    what = f"{source.name} is neither a LoRA nor a Stable Diffusion checkpoint: it holds {some[:200]}, …"
    raise PeerError(Fault.WRONG_TYPE, what, hint="give the folder of a diffusers pipeline, or --adapter to see why not")


def _take_folder(store: ModelStore, folder: Path, told: Told, like: Path | None) -> StoredModel:
    if like is not None:
        raise LocalError(Fault.MALFORMED, f"{folder} is a folder: --like is for single files")
    file = folder / adapters.FILE
    if told.adapter or (file.exists() and not (folder / checks.INDEX).exists()):
        name, card = told.name or folder.resolve().name, told.card or card_in(folder)
        return store.add_adapter(file, name=name, licence=told.licence, card=card)
    return store.add(folder, name=told.name, licence=told.licence, card=told.card)


def _take_adapter(store: ModelStore, file: Path, told: Told) -> StoredModel:
    if (file.parent / PEFT).exists():
        what = f"{file.name} has its settings in the {PEFT} beside it, which a store of single files would lose"
        raise PeerError(Fault.WRONG_TYPE, what, hint="save it with the save_lora_weights of diffusers' pipeline")
    name = told.name or (file.resolve().parent.name if file.stem in NAMELESS else file.stem)
    return store.add_adapter(file, name=name, licence=told.licence, card=told.card)


def _take_checkpoint(store: ModelStore, file: Path, told: Told, like: Path | None) -> StoredModel:
    if like is None:
        what = f"{file.name} is a checkpoint in a single file, which says nothing of its configuration"
        raise LocalError(Fault.MALFORMED, what, hint=LIKE_HINT)
    single.check(file, like)
    return store.add_made(
        lambda target: single.convert(file, like, target),
        name=told.name or file.stem, licence=told.licence, card=told.card,
    )  # fmt: skip
