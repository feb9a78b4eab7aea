"""What a model is called. Rule: a model's digest is that of the bytes that decide what it draws, and of nothing else.

Anyone with the folder can compute it: path, size and SHA-256 of every file, in byte order of the paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SUFFIXES: Final = (".json", ".safetensors", ".txt", ".model")
"""Endings of the files that count, lower case. Cards, licences and pictures don't, so a better card is no new model."""

DOMAIN: Final = b"gpufair/model/v1\x00"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of a model: its path inside the folder with `/` between names, bytes, and SHA-256."""

    path: str
    size: int
    sha256: bytes


def counts(name: str) -> bool:
    """Whether a file of this name belongs to a model's content."""
    return name.endswith(SUFFIXES)


def model_digest(files: Iterable[FileDigest]) -> bytes:
    """SHA-256(domain ‖ for each file: u32 path length ‖ path, UTF-8 ‖ u64 size ‖ SHA-256), integers big-endian.

    `ValueError` if there is no file, or two of one path.
    """
    entries = sorted(((file.path.encode(), file) for file in files), key=lambda entry: entry[0])
    paths = [path for path, _file in entries]
    if not paths or len(set(paths)) < len(paths):
        raise ValueError("a model has at least one file and no path twice")
    digest = hashlib.sha256(DOMAIN)
    for path, file in entries:
        digest.update(len(path).to_bytes(4, "big") + path + file.size.to_bytes(8, "big") + file.sha256)
    return digest.digest()
