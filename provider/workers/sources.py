"""Which sources a worker was built from. Rule: the same files give the same digest, in a checkout and where installed.

The builder of images reads this file by its path, with a Python that has no gpufair: it imports the library alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

LABEL = "gpufair.sources"
"""On a worker image of ours: the digest of the sources that its gpufair was built from."""
REBUILD = "script/image makes the one that fits; write what it prints into `image` in config.toml"
"""What to do about an image of other sources."""
_ROOMS = ("protocol", "provider/inference")


def digest(root: Path = Path(__file__).parents[2]) -> str:
    """The digest of the Python that a worker runs, below the folder of protocol/ and provider/: our own."""
    found = [path for room in _ROOMS for path in (root / room).rglob("*.py")]
    total = hashlib.sha256()
    for path in sorted(path for path in found if root / "protocol" / "edge" not in path.parents):
        for part in (path.relative_to(root).as_posix().encode(), path.read_bytes()):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:16]
