"""What is told about a model. Rule: what it is, its content says; the notes beside it add a name, a licence, a card.

So lost or old notes lose no model, and nothing in them can make one look like another kind.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gpufair.protocol import adapters, limits
from gpufair.protocol.errors import FairError, printable
from gpufair.provider.models import checks

MODEL: Final = "model"
ADAPTER: Final = "adapter"
LORA: Final = "LoRA"
"""The family of every adapter."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model or an adapter in the store: digest, name, licence as its card says, card, bytes of its content.

    `kind` is "model" or "adapter", `family` the pipeline class ("LoRA" for an adapter), `scheduler` the class of the
    model's own scheduler, empty if it names none.
    """

    digest: bytes
    name: str
    family: str
    licence: str
    card: str
    size: int
    kind: str = MODEL
    scheduler: str = ""


class Notes:
    """What is told about each content folder, in a file of its own beside it."""

    def __init__(self, content: Path, about: Path, incoming: Path) -> None:
        self._content, self._about, self._incoming = content, about, incoming
        self._told: dict[bytes, tuple[int, StoredModel]] = {}
        """What was read about a model, with its file's time: offers look at the models all the time."""

    def read(self, digest: bytes) -> StoredModel:
        """The model of this digest as its content and its notes describe it. `FileNotFoundError` if it is gone."""
        path = self._path(digest)
        try:
            written_ns = path.stat().st_mtime_ns
            known = self._told.get(digest)
            if known is not None and known[0] == written_ns:
                return known[1]
            told: Any = json.loads(path.read_text(encoding="utf-8"))
            name, licence = one_line(str(told["name"])), one_line(str(told["licence"]))
            card = str(told["card"])
        except (OSError, ValueError, KeyError, TypeError):
            return _seen(digest, self._content / digest.hex())
        seen = _seen(digest, self._content / digest.hex())
        model = replace(seen, name=name or seen.name, licence=licence, card=card)
        self._told[digest] = written_ns, model
        return model

    def write(self, digest: bytes, *, name: str, licence: str, card: str) -> None:
        """Tell this about the model from now on. The one writer calls it."""
        fresh = self._incoming / f"{digest.hex()}.json"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"digest": digest.hex(), "name": name, "licence": licence, "card": card}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._path(digest))

    def forget(self, digest: bytes) -> None:
        """Delete what is told about the model."""
        self._path(digest).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete the notes of models that are gone."""
        for path in self._about.iterdir():
            if not (self._content / path.stem).is_dir():
                path.unlink()

    def _path(self, digest: bytes) -> Path:
        return self._about / f"{digest.hex()}.json"


def card_in(folder: Path) -> str:
    """A folder's card, or nothing: a card is for people, and never a reason to refuse."""
    path = folder / checks.CARD
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(limits.MODEL_CARD_MAX).decode(errors="replace")


def licence_in(card: str) -> str:
    """The `license:` line of a card's front matter, as model hubs write it."""
    front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    said = re.search(r"^license: *(\S.*)$", front[1], re.MULTILINE) if front else None
    return said[1].strip() if said else ""


def one_line(text: str) -> str:
    """A name or a licence as offers can carry it: visible, on one line, within their bound of bytes."""
    line = printable(" ".join(text.split()), limits.NAME_MAX)
    return line.encode()[: limits.NAME_MAX].decode(errors="ignore")


def _seen(digest: bytes, folder: Path) -> StoredModel:
    """What the content alone says; its name then is how its digest begins."""
    name = digest.hex()[:16]
    size = sum(path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file())
    if {path.name for path in folder.iterdir()} == {adapters.FILE}:
        return StoredModel(digest, name, LORA, "", "", size, ADAPTER)
    try:
        family, scheduler = checks.family(folder / checks.INDEX), checks.own_scheduler(folder)
    except (FairError, OSError):
        family = scheduler = ""  # damaged: `verify` says so
    return StoredModel(digest, name, family, "", "", size, MODEL, scheduler)
