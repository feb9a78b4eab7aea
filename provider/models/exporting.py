"""Out of the store again. Rule: what is written has the digest that it had, and nothing is overwritten."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider.models import checks
from gpufair.provider.models.about import StoredModel, licence_in
from gpufair.provider.models.store import ModelStore

TAR: Final = ".tar"


def export(store: ModelStore, model: StoredModel, target: Path) -> None:
    """Write the model to the new folder `target`, or to one file if its name ends in .tar, with its card and licence.

    The same model always makes the same tar. `LocalError` if it is damaged, or `target` is there or can't be written.
    """
    if target.exists() or target.is_symlink():
        raise LocalError(Fault.CONFLICT, f"{target} is there already", hint="name another place")
    if not store.verify(model.digest):
        hint = "add it again from where it came from"
        raise LocalError(Fault.INTERNAL, f"{model.name} is damaged: it is not what its digest says", hint=hint)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as made:
            folder = Path(made) / "folder"
            _write(store.path(model.digest), _card(model), folder)
            if target.suffix == TAR:
                _pack(folder, target.stem, Path(made) / "tar").rename(target)
            else:
                folder.rename(target)
    except OSError as error:
        raise LocalError(Fault.UNAVAILABLE, f"{target} can't be written: {error}") from error


def _write(source: Path, card: str, target: Path) -> None:
    target.mkdir()
    for file in checks.files(source):
        (target / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, target / file.path)
    if card:
        (target / checks.CARD).write_text(card, encoding="utf-8")


def _pack(folder: Path, name: str, target: Path) -> Path:
    """All files under one folder's name, without times, owners and modes of this machine."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
                entry.size = path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(entry, file)
    return target


def _card(model: StoredModel) -> str:
    """The card, with the licence that the owner knows: it is added or put right where the card says another."""
    if licence_in(model.card) == model.licence:
        return model.card
    line = f"license: {model.licence}\n"
    if licence_in(model.card):
        return re.sub(r"^license:.*\n", lambda _found: line, model.card, count=1, flags=re.MULTILINE)
    front = re.match(r"---\n", model.card)
    return f"---\n{line}{model.card[front.end() :]}" if front else f"---\n{line}---\n{model.card}"
