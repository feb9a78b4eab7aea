"""What may enter the store. Rule: no file of a model is believed, and none that could run code is taken.

Everything here reads and refuses; nothing writes. Weights are safetensors; a model names library classes, never code.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpufair.protocol import adapters, limits
from gpufair.protocol.content import counts
from gpufair.protocol.errors import Fault, PeerError
from gpufair.provider.models import tensors

INDEX: Final = "model_index.json"
CARD: Final = "README.md"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
CLASS: Final = re.compile(r"[A-Z][A-Za-z0-9]{1,63}")
LIBRARIES: Final = ("diffusers", "transformers")
SAFETY: Final = ["stable_diffusion", "StableDiffusionSafetyChecker"]
"""Diffusers' own class under the short name that old model indexes use; workers don't load it."""
CODE: Final = (
    ".py",
    ".pyc",
    ".so",
    ".dll",
    ".dylib",
    ".bin",
    ".ckpt",
    ".pt",
    ".pth",
    ".pkl",
    ".pickle",
    ".onnx",
    ".h5",
)
"""Endings of files that carry code or pickles: their presence alone is a refusal, so that nobody relies on them."""
CODE_KEYS: Final = ("auto_map", "custom_pipelines", "custom_pipeline", "trust_remote_code")


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a model folder: where it lies, its path inside the folder, its bytes."""

    source: Path
    path: str
    size: int


def content(folder: Path) -> list[Found]:
    """The files of a model folder that count, each checked. `PeerError` names the first thing that must not be."""
    if folder.is_symlink() or not folder.is_dir():
        raise PeerError(Fault.WRONG_TYPE, f"{folder} is not a folder")
    found = [file for file in files(folder) if counts(file.path)]
    if INDEX not in {file.path for file in found}:
        raise PeerError(Fault.WRONG_TYPE, f"{folder} has no {INDEX}", hint="give the folder of a diffusers pipeline")
    if sum(file.size for file in found) > limits.MODEL_BYTES_MAX:
        raise PeerError(Fault.TOO_LARGE, f"the model is larger than {limits.MODEL_BYTES_MAX} bytes")
    for file in found:
        if file.path.endswith(".safetensors"):
            tensors.read_header(file.source)
        elif file.size > limits.MODEL_TEXT_MAX:
            raise PeerError(Fault.TOO_LARGE, f"{file.path} has {file.size} bytes, the limit is {limits.MODEL_TEXT_MAX}")
        elif file.path.endswith(".json"):
            _check_keys(read_json(file.source), file.path)
    return found


def family(index: Path) -> str:
    """The pipeline class that a model index names. `PeerError` unless all its parts are library classes."""
    value = read_json(index)
    if not isinstance(value, dict):
        raise PeerError(Fault.MALFORMED, f"{INDEX} is no JSON object")
    name = value.get("_class_name")
    if not (isinstance(name, str) and CLASS.fullmatch(name) and name.endswith("Pipeline")):
        raise PeerError(Fault.NOT_ALLOWED, f"{INDEX} names a pipeline that is no library class")
    for part, entry in value.items():
        if isinstance(entry, list) and not _is_library_class(entry):
            raise PeerError(Fault.NOT_ALLOWED, f"{INDEX}: the part {part!r} is no class of {' or '.join(LIBRARIES)}")
        if isinstance(entry, dict):
            raise PeerError(Fault.NOT_ALLOWED, f"{INDEX}: the part {part!r} is described in a way not known here")
    return name


def own_scheduler(folder: Path) -> str:
    """The scheduler class that a model folder names, or nothing: what it means is the worker's to say."""
    path = folder / "scheduler" / "scheduler_config.json"
    value = read_json(path) if path.is_file() else {}
    name = value.get("_class_name") if isinstance(value, dict) else None
    return name if isinstance(name, str) and CLASS.fullmatch(name) else ""


def adapter(path: Path) -> tensors.Header:
    """The header of a LoRA file. `PeerError` says why it is none, or none that can be told from its header."""
    regular(path)
    if (size := path.stat().st_size) > limits.ADAPTER_BYTES_MAX:
        raise PeerError(Fault.TOO_LARGE, f"{path.name} has {size} bytes, the limit is {limits.ADAPTER_BYTES_MAX}")
    header = tensors.read_header(path)
    for name, dtype in header.dtypes.items():
        if dtype not in tensors.FLOATS:
            what = f"{path.name}: the tensor {name[:80]!r} is of type {dtype}, an adapter's are {tensors.FLOATS}"
            raise PeerError(Fault.MALFORMED, what)
    try:
        adapters.changes(header.shapes)
        adapters.alphas(header.metadata)
    except ValueError as err:
        raise PeerError(Fault.WRONG_TYPE, f"{path.name}: {err}") from err
    return header


def regular(path: Path) -> None:
    """`PeerError` unless this is a file, no link, that calls itself safetensors."""
    mode = path.lstat().st_mode if path.is_symlink() or path.exists() else 0
    if not stat.S_ISREG(mode) or path.suffix.lower() != ".safetensors":
        raise PeerError(Fault.WRONG_TYPE, f"{path} is no safetensors file", hint="only safetensors weights are taken")


def places(folder: Path) -> dict[adapters.Place, adapters.Shape]:
    """Every weight of a model folder that an adapter could change, from the headers of its files."""
    found: dict[adapters.Place, adapters.Shape] = {}
    for file in folder.glob("*/*.safetensors"):
        found |= adapters.places(file.parent.name, tensors.read_header(file).shapes)
    return found


def read_json(path: Path) -> Any:
    """A JSON file, bounded in size and depth. `PeerError` if it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(limits.MODEL_TEXT_MAX + 1)
        if len(data) > limits.MODEL_TEXT_MAX:
            raise PeerError(Fault.TOO_LARGE, f"{path.name} is larger than {limits.MODEL_TEXT_MAX} bytes")
        return json.loads(data)
    except (ValueError, RecursionError) as err:
        raise PeerError(Fault.MALFORMED, f"{path.name} is not valid JSON") from err


def files(folder: Path) -> Iterator[Found]:
    """Every file of the folder, links and special files refused. `.git` and hidden caches are passed over."""
    seen = 0
    waiting = [folder]
    while waiting:
        for entry in sorted(waiting.pop().iterdir()):
            inside = entry.relative_to(folder)
            if entry.name.startswith("."):
                continue
            seen += 1
            if seen > limits.MODEL_FILES_MAX or len(inside.parts) > limits.MODEL_DEPTH_MAX:
                raise PeerError(
                    Fault.LIMIT,
                    f"more than {limits.MODEL_FILES_MAX} files, or deeper than {limits.MODEL_DEPTH_MAX} folders",
                )
            if not NAME.fullmatch(entry.name):
                raise PeerError(Fault.NOT_ALLOWED, f"a file name that is not plain: {entry.name!r}")
            mode = entry.lstat().st_mode
            if stat.S_ISDIR(mode):
                waiting.append(entry)
            elif not stat.S_ISREG(mode):
                raise PeerError(Fault.NOT_ALLOWED, f"{inside} is a link or no regular file")
            elif entry.name.lower().endswith(CODE):
                raise PeerError(
                    Fault.NOT_ALLOWED, f"{inside} can carry code", hint="only safetensors weights are taken"
                )
            else:
                yield Found(entry, inside.as_posix(), entry.lstat().st_size)


def _is_library_class(entry: list[object]) -> bool:
    match entry:
        case [None, None]:
            return True
        case [str(library), str(name)]:
            return entry == SAFETY or (library in LIBRARIES and CLASS.fullmatch(name) is not None)
        case _:
            return False


def _check_keys(value: object, path: str, depth: int = 0) -> None:
    """Refuse a configuration that asks for code, and one nested too deep to be meant well."""
    if depth > limits.JSON_DEPTH_MAX:
        raise PeerError(Fault.LIMIT, f"{path} is nested deeper than {limits.JSON_DEPTH_MAX}")
    if isinstance(value, dict):
        if any(key in value for key in CODE_KEYS):
            raise PeerError(Fault.NOT_ALLOWED, f"{path} asks for code of its own ({', '.join(CODE_KEYS)})")
        for item in value.values():
            _check_keys(item, path, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_keys(item, path, depth + 1)
