"""The content-addressed model store. Rule: what lies under a digest has that digest, whole, or isn't there.

    <root>/content/<hex digest>/…   the files that count, read-only (see `gpufair.protocol.content`)
    <root>/about/<hex digest>.json  name, family, licence, card, bytes, when added
    <root>/incoming/…               folders being copied; what a crash left there is swept by the next writer
    <root>/lock                     held by the one writer

A folder is checked, copied while it is hashed, synced, and only then renamed into place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from gpufair.protocol import limits
from gpufair.protocol.content import FileDigest, model_digest
from gpufair.protocol.errors import Fault, LocalError, PeerError, printable
from gpufair.provider.models import checks

HEX: Final = re.compile(r"[0-9a-f]{64}")
COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the store: digest, name, family (its pipeline class), licence as its card says, card, bytes."""

    digest: bytes
    name: str
    family: str
    licence: str
    card: str
    size: int


class ModelStore:
    """Models under one root folder. Safe for several processes: a model appears by one rename, and never changes."""

    def __init__(self, root: Path) -> None:
        self._content, self._about, self._incoming = root / "content", root / "about", root / "incoming"
        self._told: dict[bytes, tuple[int, StoredModel]] = {}
        """What was read about a model, with its file's time: offers look at the models all the time."""

    def add(self, folder: Path, *, name: str = "", licence: str = "") -> StoredModel:
        """Take a diffusers folder in. If its content is here already, only what is told about it changes.

        `PeerError` says what is wrong with the folder, `LocalError` what is wrong with our disk.
        """
        found = checks.content(folder)
        checks.family(folder / checks.INDEX)
        card = _card(folder)
        try:
            with self._alone():
                staging = Path(tempfile.mkdtemp(dir=self._incoming))
                digest = model_digest([_copy(file, staging / file.path) for file in found])
                # The source may have changed between check and copy: what counts is what was copied.
                checks.content(staging)
                family = checks.family(staging / checks.INDEX)
                self._place(staging, digest)
                _discard(staging)
                named = printable(name or folder.resolve().name, limits.NAME_MAX)
                said = printable(licence or _licence(card), limits.NAME_MAX)
                model = StoredModel(digest, named, family, said, card, sum(file.size for file in found))
                self._tell(model)
        except OSError as err:
            raise LocalError(Fault.UNAVAILABLE, f"the model store can't take {folder}: {err}") from err
        return model

    def list(self) -> list[StoredModel]:
        """Every model here, by name. What is told about a model is for people; its digest is what counts."""
        if not self._content.is_dir():
            return []
        here = [self._describe(bytes.fromhex(p.name)) for p in self._content.iterdir() if HEX.fullmatch(p.name)]
        return sorted(here, key=lambda model: (model.name, model.digest))

    def get(self, digest: bytes) -> StoredModel:
        """The model of this digest. `LocalError` if it isn't here."""
        self.path(digest)
        return self._describe(digest)

    def path(self, digest: bytes) -> Path:
        """The folder of this model. `LocalError` if it isn't here."""
        folder = self._content / digest.hex()
        if len(digest) != 32 or not folder.is_dir():
            raise LocalError(
                Fault.UNKNOWN,
                f"the model {digest.hex()} is not in the store",
                hint="`gpufaird models list` shows what is",
            )
        return folder

    def verify(self, digest: bytes) -> bool:
        """Whether every byte of the model is still as it was. `LocalError` if it isn't here."""
        folder = self.path(digest)
        try:
            found = checks.content(folder)
            return model_digest([FileDigest(f.path, f.size, _sha256(f.source)) for f in found]) == digest
        except PeerError:
            return False

    def remove(self, digest: bytes) -> None:
        """Delete the model and what is told about it. `LocalError` if it isn't here."""
        folder = self.path(digest)
        try:
            with self._alone():
                grave = self._incoming / digest.hex()
                folder.chmod(0o755)
                folder.rename(grave)
                (self._about / f"{digest.hex()}.json").unlink(missing_ok=True)
                _discard(grave)
        except OSError as err:
            raise LocalError(Fault.UNAVAILABLE, f"the model {digest.hex()} can't be removed: {err}") from err

    def _place(self, staging: Path, digest: bytes) -> None:
        target = self._content / digest.hex()
        if target.exists():
            return
        for folder, folders, _files in os.walk(staging, topdown=False):
            for name in folders:
                (Path(folder) / name).chmod(0o555)
            _sync(Path(folder))
        staging.chmod(0o755)
        staging.rename(target)
        _sync(self._content)

    def _tell(self, model: StoredModel) -> None:
        target = self._about / f"{model.digest.hex()}.json"
        told = asdict(replace(model, digest=b"")) | {"digest": model.digest.hex()}
        fresh = self._incoming / f"{model.digest.hex()}.json"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(target)
        _sync(self._about)

    def _describe(self, digest: bytes) -> StoredModel:
        path = self._about / f"{digest.hex()}.json"
        try:
            written_ns = path.stat().st_mtime_ns
            known = self._told.get(digest)
            if known is not None and known[0] == written_ns:
                return known[1]
            told: Any = json.loads(path.read_text(encoding="utf-8"))
            name, family, licence, card = (str(told[part]) for part in ("name", "family", "licence", "card"))
            model = StoredModel(digest, name, family, licence, card, int(told["size"]))
        except (OSError, ValueError, KeyError, TypeError):
            folder = self._content / digest.hex()
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            return StoredModel(digest, "", "", "", "", size)
        self._told[digest] = written_ns, model
        return model

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only writer, across processes, with an empty `incoming`: what lies there is a crash's."""
        for part in (self._content, self._about, self._incoming):
            part.mkdir(parents=True, exist_ok=True)
        with (self._incoming.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self._incoming.iterdir():
                _discard(left)
            yield


def _copy(file: checks.Found, target: Path) -> FileDigest:
    """Copy one file, hashing what is written; never through a link, never more than was announced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    left = file.size
    source = os.open(file.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(source, "rb") as reader, target.open("xb") as writer:
        while left and (data := reader.read(min(COPY_BYTES, left))):
            digest.update(data)
            writer.write(data)
            left -= len(data)
        if left or reader.read(1):
            raise PeerError(Fault.CONFLICT, f"{file.path} changed while it was copied")
        writer.flush()
        os.fsync(writer.fileno())
    target.chmod(0o444)
    return FileDigest(file.path, file.size, digest.digest())


def _card(folder: Path) -> str:
    """The model's card, or nothing: a card is for people, and never a reason to refuse."""
    path = folder / checks.CARD
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(limits.MODEL_CARD_MAX).decode(errors="replace")


def _licence(card: str) -> str:
    """The `license:` line of a card's front matter, as model hubs write it."""
    front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    said = re.search(r"^license: *(\S.*)$", front[1], re.MULTILINE) if front else None
    return said[1].strip() if said else ""


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(path: Path) -> None:
    """Delete a folder of ours, read-only or not; a name that is gone already is no matter."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _folders, _files in os.walk(path):
        Path(folder).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
