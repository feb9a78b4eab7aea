"""Where a model is on this machine. Rule: a folder is found by its content's digest, and the worker checks it again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import gpufair.protocol
from gpufair.protocol.content import FileDigest, counts, model_digest
from gpufair.protocol.errors import Fault, LocalError

_MARKS = ("model_index.json", "adapter.safetensors")
_STORES = ("", "content", "models/content")
"""Where a store's folders lie below the folder that somebody names: that folder itself, a store, a node's home."""


@contextmanager
def found(digest: bytes, given: Path | None) -> Iterator[Path]:
    """A folder with the content of this digest, for as long as the block lasts. Raises LocalError where there is none.

    Looked for in `given`: a model's own folder, a store of models, a node's home; then in this user's node, and last
    among what comes with gpufair.
    """
    places = [given] if given is not None else []
    places += [_node_home(), _demo()]
    for place in places:
        for below in _STORES:
            folder = place / below / digest.hex()
            if folder.is_dir():
                yield folder
                return
        if any((place / mark).is_file() for mark in _MARKS) and _digest(place) == digest:
            with _bare(place) as folder:
                yield folder
            return
    hint = "name a folder that has it with --models: a diffusers folder, or a node's home"
    raise LocalError(Fault.UNKNOWN, f"the model {digest.hex()[:12]} is not on this machine", hint=hint)


def _node_home() -> Path:
    from platformdirs import user_data_path

    return Path(os.environ.get("GPUFAIRD_HOME") or user_data_path("gpufaird"))


def _demo() -> Path:
    return Path(gpufair.protocol.__path__[0]).parent / "provider" / "models" / "demo"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and counts(path.name))


def _digest(folder: Path) -> bytes:
    described = []
    for path in _files(folder):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        described.append(FileDigest(path.relative_to(folder).as_posix(), path.stat().st_size, content))
    return model_digest(described)


@contextmanager
def _bare(folder: Path) -> Iterator[Path]:
    """The folder with nothing in it but what counts: a worker takes no other."""
    with TemporaryDirectory(prefix="gpufair-model-") as bare:
        for path in _files(folder):
            target = Path(bare) / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path.resolve(), target)
            except OSError:
                shutil.copyfile(path, target)
        yield Path(bare)
