"""Pictures on disk. Rule: a picture that was paid for never overwrites a file, and is written whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gpufair.client.pictures.verify import sealed_with
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchase import Purchase
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import Fault, LocalError

_WORDS = re.compile(r"[^a-z0-9]+")
_TRIES = 10_000


def name_for(prompt: str, folder: Path, count: int = 1) -> Path:
    """A file name out of a prompt: `a-red-fox.png`, `a-red-fox-2.png`. Nothing in `folder` stands in the way of it, or
    of any of the names of `count` pictures.
    """
    stem = _WORDS.sub("-", prompt.lower())[:48].strip("-") or "picture"
    for number in range(1, _TRIES):
        path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        if not any(target.exists() for target in targets(path, count)):
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
    """Write every picture that is here, its receipt inside; where each one is, by index.

    A file that is this very picture counts as written. Raises LocalError for the first that could not be written,
    after all the others were.
    """
    written, failures = {}, []
    for picture in purchase.opened:
        path = paths[picture.index]
        try:
            _write_one(path, sealed_with(purchases.png(store, picture), picture.receipt), force=force)
        except FileExistsError:
            failures.append((Fault.CONFLICT, f"{path} exists already, and is something else"))
        except OSError as error:
            failures.append((Fault.UNAVAILABLE, f"{path} cannot be written: {error.strerror}"))
        else:
            written[picture.index] = str(path)
    if failures:
        fault, what = failures[0]
        hint = f"it is safe in the wallet: gpufair fetch {purchase.job.id.hex()[:12]} -o OTHER.png"
        raise LocalError(fault, what, hint=hint)
    return written


def _write_one(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file whole or not at all. Raises FileExistsError, without `force`, if another one is there; OSError."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        if force:
            part.replace(path)
        else:
            os.link(part, path)  # unlike a rename it never takes the place of a file
    except FileExistsError:
        if not (path.is_file() and path.read_bytes() == data):
            raise
    finally:
        part.unlink(missing_ok=True)
