"""Pictures on disk. Rule: a picture that was paid for never overwrites a file, and is written whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gpufair.client.pictures.verify import sealed_with
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchases import Purchase
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import Fault, LocalError

_WORDS = re.compile(r"[^a-z0-9]+")
_TRIES = 10_000


def name_for(prompt: str, folder: Path) -> Path:
    """A file name out of a prompt, that nothing in `folder` has: `a-red-fox.png`, `a-red-fox-2.png`."""
    stem = _WORDS.sub("-", prompt.lower())[:48].strip("-") or "picture"
    for number in range(1, _TRIES):
        path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        if not path.exists():
            return path
    raise LocalError(Fault.LIMIT, f"{folder} is full of pictures called {stem}", hint="name the file with -o")


def targets(file: Path, count: int) -> list[Path]:
    """Where `count` pictures go: the file itself, or `name-1.png` … beside it."""
    if count == 1:
        return [file]
    suffix = file.suffix or ".png"
    return [file.with_name(f"{file.stem}-{number}{suffix}") for number in range(1, count + 1)]


def check_writable(paths: list[Path], *, force: bool) -> None:
    """Raise LocalError before anything is bought that could not be written afterwards."""
    folder = paths[0].parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise LocalError(Fault.MALFORMED, f"{folder} is not a folder that you can write to", hint="choose another -o")
    for path in paths:
        if path.is_dir():
            raise LocalError(Fault.MALFORMED, f"{path} is a folder", hint="name a file with -o")
        if path.exists() and not force:
            raise LocalError(Fault.MALFORMED, f"{path} exists already", hint="choose another -o, or add --force")


def write(store: RowStore, purchase: Purchase, paths: list[Path], *, force: bool) -> dict[int, str]:
    """Write every picture that is here, its receipt inside; where each one went, by index. Raises LocalError."""
    written = {}
    for picture in purchase.opened:
        path = paths[picture.index]
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(sealed_with(purchases.png(store, purchase, picture), picture.receipt))
            if force:
                part.replace(path)
            else:
                os.link(part, path)  # unlike a rename it never takes the place of a file
        except FileExistsError as error:
            hint = f"it is safe in the wallet: gpufair fetch {purchase.job.id.hex()[:12]} -o OTHER.png"
            raise LocalError(Fault.CONFLICT, f"{path} exists by now", hint=hint) from error
        except OSError as error:
            hint = f"it is safe in the wallet: gpufair fetch {purchase.job.id.hex()[:12]} -o OTHER.png"
            raise LocalError(Fault.UNAVAILABLE, f"{path} cannot be written: {error.strerror}", hint=hint) from error
        finally:
            part.unlink(missing_ok=True)
        written[picture.index] = str(path)
    return written
