"""A folder of a model or an adapter. Rule: nothing in it is parsed before its digest has been checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from gpufair.protocol.content import FileDigest, model_digest
from gpufair.protocol.frames import FailCode
from gpufair.protocol.limits import MODEL_DEPTH_MAX, MODEL_FILES_MAX, MODEL_TEXT_MAX
from gpufair.provider.inference.engine import RefusedError


def verify(folder: Path, digest: bytes) -> list[FileDigest]:
    """The folder's files. `RefusedError` unless it is there, and they together have this digest."""
    if not folder.is_dir():
        raise RefusedError(FailCode.MODEL_MISSING, "there is no such model folder")
    files = list(_files(folder))
    found = model_digest(files)
    if found != digest:
        raise RefusedError(FailCode.MODEL_BAD, f"the folder's digest is {found.hex()}, not {digest.hex()}")
    return files


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. `RefusedError` if there is none, or a file that is too large to be one."""
    try:
        if path.stat().st_size > MODEL_TEXT_MAX:
            raise RefusedError(FailCode.MODEL_BAD, f"{path.name} is larger than {MODEL_TEXT_MAX} bytes")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        raise RefusedError(FailCode.MODEL_BAD, f"{path.name} is missing or no JSON") from err
    if not isinstance(value, dict):
        raise RefusedError(FailCode.MODEL_BAD, f"{path.name} is no JSON object")
    return value


def weights(folder: Path) -> int:
    """How many numbers the weights in a part's folder are; 0 where there are none that can be read."""
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, "pt") as file:
                total += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping
        except (OSError, ValueError, SafetensorError):
            continue
    return total


def _files(folder: Path) -> Iterator[FileDigest]:
    """Every file of the folder with its digest: each one counts, and anything else in there is refused."""
    seen = 0
    waiting = [folder]
    while waiting:
        for entry in waiting.pop().iterdir():
            relative = entry.relative_to(folder)
            seen += 1
            if entry.is_symlink() or seen > MODEL_FILES_MAX or len(relative.parts) > MODEL_DEPTH_MAX:
                raise RefusedError(FailCode.MODEL_BAD, "the folder holds a link, or too many or too deep files")
            if entry.is_dir():
                waiting.append(entry)
            elif entry.is_file():
                yield FileDigest(relative.as_posix(), entry.stat().st_size, _sha256(entry))
            else:
                raise RefusedError(FailCode.MODEL_BAD, "the folder holds something that is no file")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
