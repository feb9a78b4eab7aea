"""What a safetensors file says that it holds. Rule: the header is small, and describes exactly the bytes behind it.

A header is JSON that must be parsed before anything else is known. Reading it needs no torch and touches no weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, PeerError

DTYPES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS: Final = ("F32", "F16", "BF16")
METADATA: Final = "__metadata__"


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of a file by name, as shape and as type; and the texts that its maker added."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a file. `PeerError` unless it is safetensors, small, and true to the bytes that follow."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        claimed = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= claimed <= min(limits.TENSORS_HEADER_MAX, size - 8):
            raise PeerError(
                Fault.MALFORMED,
                f"{path.name} claims a header of {claimed} bytes in a file of {size}: "
                f"the limit is {limits.TENSORS_HEADER_MAX}",
            )
        raw = file.read(claimed)
    try:
        header = json.loads(raw, object_pairs_hook=_object)
    except (ValueError, RecursionError) as err:
        raise PeerError(Fault.MALFORMED, f"{path.name}: the header is not valid JSON") from err
    if not isinstance(header, dict) or len(header) > limits.TENSORS_MAX:
        raise PeerError(
            Fault.MALFORMED, f"{path.name}: the header is no object of at most {limits.TENSORS_MAX} tensors"
        )
    metadata = _metadata(path.name, header.pop(METADATA, {}))
    _check_spans(path.name, header, size - 8 - claimed)
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    return Header(shapes, {name: entry["dtype"] for name, entry in header.items()}, metadata)


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object none of whose names comes twice: readers differ in which of the two they believe."""
    pairs = list(pairs)
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name comes twice")
    return made


def _check_spans(file: str, header: dict[str, object], size: int) -> None:
    """`PeerError` unless the tensors lie side by side and fill the `size` bytes behind the header."""
    end = 0
    for start, stop in sorted(_span(file, name, entry) for name, entry in header.items()):
        if start != end:
            raise PeerError(Fault.MALFORMED, f"{file}: tensors overlap or leave a gap at byte {end}")
        end = stop
    if end != size:
        raise PeerError(Fault.MALFORMED, f"{file}: the header describes {end} bytes, {size} follow it")


def _span(file: str, name: str, entry: object) -> tuple[int, int]:
    """Where a tensor lies, if its shape and type agree with that."""
    match entry:
        case {"dtype": str(dtype)} if dtype not in DTYPES:
            what = f"{file}: the tensor {name[:80]!r} is of type {dtype[:20]!r}, known are {', '.join(DTYPES)}"
            raise PeerError(Fault.MALFORMED, what)
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if (
            name.isprintable()
            and len(shape) <= 8
            and all(type(n) is int and 0 <= n < 2**40 for n in (*shape, start, stop))
        ):
            wanted = DTYPES[dtype]
            for side in shape:
                wanted *= side
            if 0 <= start <= stop and stop - start == wanted:
                return start, stop
    raise PeerError(Fault.MALFORMED, f"{file}: the tensor {name[:80]!r} is badly described")


def _metadata(file: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise PeerError(Fault.MALFORMED, f"{file}: the header's metadata are no texts by name")
    return value
