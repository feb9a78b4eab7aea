"""Small secret files. Rule: written whole or not at all, erased for good, and never for others' eyes."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from gpufair.protocol.errors import Fault, LocalError

_SHARED = 0o077


def write_private(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600, in place of whatever was there; a crash leaves the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def erase(path: Path) -> None:
    """Overwrite a secret file and remove it. A crash on the way leaves a hidden file, to be erased again.

    Only the best effort: a disk that copies what it writes, or a snapshot of it, may still know the old bytes.
    """
    hidden = path if path.name.startswith(".") else path.with_name(f".{path.name}.erased")
    path.replace(hidden)  # first: half overwritten under its own name it would look like damage
    sync_folder(path.parent)
    with hidden.open("r+b") as file:
        file.write(bytes(hidden.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    hidden.unlink()
    sync_folder(path.parent)


def read_private(path: Path, *, limit: int) -> bytes:
    """The bytes of a secret file. Raises LocalError if it is absent, too large, a link, or open to other users."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise LocalError(Fault.UNKNOWN, f"{path} does not exist") from error
    except OSError as error:
        raise LocalError(Fault.NOT_ALLOWED, f"{path} cannot be read: {error.strerror}") from error
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise LocalError(Fault.MALFORMED, f"{path} is not a file")
        _refuse_shared(path, mode, "600")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(handle)
    if len(data) > limit:
        raise LocalError(Fault.TOO_LARGE, f"{path} has more than {limit} bytes")
    return data


def check_folder(folder: Path) -> None:
    """Raise LocalError unless `folder` is a folder that only its owner can enter."""
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError as error:
        raise LocalError(Fault.UNKNOWN, f"{folder} does not exist") from error
    if not stat.S_ISDIR(mode):
        raise LocalError(Fault.MALFORMED, f"{folder} is not a folder")
    _refuse_shared(folder, mode, "700")


def sync_folder(folder: Path) -> None:
    """Make a file's new name durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_shared(path: Path, mode: int, wanted: str) -> None:
    if mode & _SHARED:
        raise LocalError(
            Fault.NOT_ALLOWED,
            f"other users of this machine can read {path} (mode {stat.S_IMODE(mode):o})",
            hint=f"run: chmod {wanted} '{path}'",
        )
