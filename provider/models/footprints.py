"""What the store's models take in memory. Rule: read from configurations and headers, once: content never changes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

from gpufair.protocol.errors import FairError
from gpufair.protocol.memory import Footprint, footprint
from gpufair.provider.models import checks, tensors


class Footprints:
    """The footprints of models by digest; `locate` gives a model's folder, or raises `FairError`."""

    def __init__(self, locate: Callable[[bytes], Path]) -> None:
        self._locate = locate
        self._known: dict[bytes, Footprint | None] = {}

    def of(self, digest: bytes) -> Footprint | None:
        """What a model takes; None if it is not here, or of a make that nothing can be foretold of."""
        if digest not in self._known:
            try:
                self._known[digest] = read(self._locate(digest))
            except (FairError, OSError):
                return None  # removed, or damaged: whoever loads it says so
        return self._known[digest]


def read(folder: Path) -> Footprint | None:
    """The footprint of the model in a folder. `PeerError` for files that are not what they should be."""
    configs: dict[str, Any] = {}
    weights: dict[str, int] = {}
    for path in folder.glob("*/config.json"):
        value = checks.read_json(path)
        configs[path.parent.name] = value if isinstance(value, dict) else {}
    for path in folder.glob("*/*.safetensors"):
        count = sum(prod(shape) for shape in tensors.read_header(path).shapes.values())
        weights[path.parent.name] = weights.get(path.parent.name, 0) + count
    return footprint(configs, weights)
