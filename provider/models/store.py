"""The content-addressed model store. Rule: what lies under a digest has that digest, whole, or isn't there.

    <root>/content/<hex digest>/…   the files that count, read-only (see `gpufair.protocol.content`)
    <root>/blobs/<hex SHA-256>      large files once more, by hard links: models that have the same share one
    <root>/about/<hex digest>.json  name, licence, card: what the content can't say of itself
    <root>/incoming/…               folders being copied; what a crash left there is swept by the next writer
    <root>/lock                     held by the one writer

A folder is checked, copied while it is hashed, synced, and only then renamed into place.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gpufair.protocol import adapters
from gpufair.protocol.content import FileDigest, model_digest
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.provider.models import checks
from gpufair.provider.models.about import ADAPTER, MODEL, Notes, StoredModel, card_in, licence_in
from gpufair.provider.models.blobs import Blobs, Usage, file_sha256, usage

HEX: Final = re.compile(r"[0-9a-f]{64}")
COPY_BYTES: Final = 1 << 20


class ModelStore:
    """Models and adapters under one root folder.

    Safe for several processes: a model appears by one rename, and never changes.
    """

    def __init__(self, root: Path) -> None:
        self._content, self._about, self._incoming = root / "content", root / "about", root / "incoming"
        self._blobs = Blobs(root / "blobs", self._content)
        self._notes = Notes(self._content, self._about, self._incoming)
        self._fits: dict[tuple[bytes, bytes], bool] = {}
        """What was found of an adapter and a model: neither ever changes, and offers ask all the time."""

    def add(self, folder: Path, *, name: str = "", licence: str = "", card: str = "") -> StoredModel:
        """Take a diffusers folder in. If its content is here already, and sound, only what is told changes.

        `PeerError` says what is wrong with the folder, `LocalError` what is wrong with our disk.
        """
        found = checks.content(folder)
        checks.family(folder / checks.INDEX)
        card = card or card_in(folder)
        with self._taking(folder):
            digest = self._take(found, _check_model)
            return self._named(digest, name or folder.resolve().name, licence or licence_in(card), card)

    def add_adapter(self, file: Path, *, name: str = "", licence: str = "", card: str = "") -> StoredModel:
        """Take a LoRA in: one safetensors file. Its licence is, unless told, what the card or its own header says.

        `PeerError` says what is wrong with the file, `LocalError` what is wrong with our disk.
        """
        header = checks.adapter(file)
        said = licence or licence_in(card) or header.metadata.get("modelspec.license", "")
        with self._taking(file):
            digest = self._take([checks.Found(file, adapters.FILE, file.stat().st_size)], _check_adapter)
            return self._named(digest, name or file.stem, said, card)

    def add_made(self, make: Callable[[Path], None], *, name: str, licence: str = "", card: str = "") -> StoredModel:
        """Take in the diffusers folder that `make` writes into an empty one, while nobody else writes to the store.

        `PeerError` and `LocalError` as for `add`, and whatever `make` raises.
        """
        with self._taking(Path(name)):
            made = Path(tempfile.mkdtemp(dir=self._incoming))
            make(made)
            digest = self._take(checks.content(made), _check_model)
            return self._named(digest, name, licence or licence_in(card), card)

    def everything(self) -> list[StoredModel]:
        """Models and adapters, by name."""
        here: list[StoredModel] = []
        for path in self._content.iterdir() if self._content.is_dir() else ():
            if HEX.fullmatch(path.name):
                with suppress(FileNotFoundError):  # removed meanwhile
                    here.append(self._notes.read(bytes.fromhex(path.name)))
        return sorted(here, key=lambda one: (one.name, one.digest))

    def adapters(self) -> list[StoredModel]:
        """Every adapter here, by name."""
        return [one for one in self.everything() if one.kind == ADAPTER]

    def list(self) -> list[StoredModel]:
        """Every model here, by name. What is told about a model is for people; its digest is what counts."""
        return [one for one in self.everything() if one.kind == MODEL]

    def usage(self) -> Usage:
        """What all content takes, and what models share."""
        return usage(self._content)

    def fits(self, adapter: bytes, model: bytes) -> bool:
        """Whether all that this adapter changes is in this model, in the same shape; False if either isn't here.

        Names and shapes in the files' headers decide: a LoRA of another family does not fit.
        """
        one, other = self._content / adapter.hex() / adapters.FILE, self._content / model.hex()
        if not one.is_file() or not other.is_dir():
            return False
        if (adapter, model) not in self._fits:
            try:
                changed = adapters.changes(checks.adapter(one).shapes)
                self._fits[adapter, model] = adapters.fits(changed, checks.places(other))
            except (PeerError, OSError):
                return False  # damaged, or removed meanwhile
        return self._fits[adapter, model]

    def get(self, digest: bytes) -> StoredModel:
        """The model of this digest. `LocalError` if it isn't here."""
        self.path(digest)
        return self._notes.read(digest)

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
        """Whether every byte of the model is still as it was, and nothing was added. `LocalError` if it isn't here."""
        folder = self.path(digest)
        try:
            if any(path.name.startswith(".") for path in folder.rglob("*")):
                return False  # whatever it is, it wasn't there: a worker would refuse the folder
            files = checks.files(folder)
            return model_digest([FileDigest(f.path, f.size, file_sha256(f.source)) for f in files]) == digest
        except (PeerError, ValueError):
            return False

    def remove(self, digest: bytes) -> None:
        """Delete the model and what is told about it. `LocalError` if it isn't here."""
        folder = self.path(digest)
        try:
            with self._alone():
                grave = self._incoming / digest.hex()
                folder.chmod(0o755)
                folder.rename(grave)
                self._notes.forget(digest)
                _discard(grave)
                self._blobs.sweep()
        except OSError as err:
            raise LocalError(Fault.UNAVAILABLE, f"the model {digest.hex()} can't be removed: {err}") from err

    @contextmanager
    def _taking(self, source: Path) -> Iterator[None]:
        """Be the only writer; what the disk refuses is our own fault."""
        try:
            with self._alone():
                yield
        except OSError as err:
            raise LocalError(Fault.UNAVAILABLE, f"the model store can't take {source}: {err}") from err

    def _take(self, found: Sequence[checks.Found], check: Callable[[Path], object]) -> bytes:
        """Copy these files in, as one folder, and give its digest."""
        staging = Path(tempfile.mkdtemp(dir=self._incoming))
        copied = [_copy(file, staging / file.path) for file in found]
        digest = model_digest(copied)
        for file in copied:
            self._blobs.share(staging / file.path, file.sha256)
        check(staging)  # the source may have changed between check and copy: what counts is what was copied
        self._place(staging, digest)
        _discard(staging)
        return digest

    def _named(self, digest: bytes, name: str, licence: str, card: str) -> StoredModel:
        self._notes.write(digest, name=name, licence=licence, card=card)
        _sync(self._about)
        return self._notes.read(digest)

    def _place(self, staging: Path, digest: bytes) -> None:
        target = self._content / digest.hex()
        if target.exists():
            if self.verify(digest):
                return
            target.rename(self._incoming / digest.hex())  # damaged: what was just copied takes its place
        for folder, folders, _files in os.walk(staging, topdown=False):
            for name in folders:
                (Path(folder) / name).chmod(0o555)
            _sync(Path(folder))
        staging.chmod(0o755)
        staging.rename(target)
        _sync(self._content)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only writer, across processes, with a swept store: what has no model any more is a crash's."""
        for part in (self._content, self._about, self._incoming, self._blobs.root):
            part.mkdir(parents=True, exist_ok=True)
        with (self._incoming.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self._incoming.iterdir():
                _discard(left)
            self._blobs.sweep()
            self._notes.sweep()
            yield


def _check_model(folder: Path) -> None:
    checks.content(folder)
    checks.family(folder / checks.INDEX)


def _check_adapter(folder: Path) -> None:
    checks.adapter(folder / adapters.FILE)


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
