"""Large files that several models have, held once. Rule: a link stands for bytes only when both were read just now.

A blob is one more name, its SHA-256, for a file of a model: a hard link. Whether anybody still has the file is the file
system's own count of names, so a crash leaves nothing to be mended but blobs that are swept. Where links can't be made,
each model has its own copy.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpufair.protocol import limits

NO_LINKS: Final = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)
"""What a file system without hard links says, or one whose file has no room for another name."""
SPARE: Final = ".spare"


@dataclass(frozen=True, slots=True)
class Usage:
    """What the store takes: bytes of all content, bytes on disk, and by digest those that others have too."""

    content_bytes: int
    disk_bytes: int
    shared: dict[bytes, int]


class Blobs:
    """The links, each under its file's SHA-256. Only the store's one writer calls this."""

    def __init__(self, root: Path, content: Path) -> None:
        self.root, self._content = root, content

    def share(self, file: Path, sha256: bytes) -> None:
        """Make `file`, just written with these bytes, one with the equal file of another model, if there is one."""
        if file.stat().st_size < limits.SHARED_FILE_MIN:
            return
        blob = self.root / sha256.hex()
        try:
            if not blob.exists():
                self._adopt(blob, sha256, file)
            if blob.exists() and file_sha256(blob) == sha256:
                _link_over(blob, file)
            else:
                _link_over(file, blob)  # there was none, or it is damaged
        except OSError as err:
            if err.errno not in NO_LINKS:
                raise

    def sweep(self) -> None:
        """Remove what no model has any more."""
        for blob in self.root.iterdir():
            if blob.stat().st_nlink == 1:
                blob.unlink()

    def _adopt(self, blob: Path, sha256: bytes, like: Path) -> None:
        """Give a file its blob that came in before there were blobs, or lost it when the store was copied."""
        size = like.stat().st_size
        for file in self._content.rglob("*"):
            told = file.stat()
            if file.is_file() and (told.st_size, told.st_nlink) == (size, 1) and file_sha256(file) == sha256:
                blob.hardlink_to(file)
                return


def usage(content: Path) -> Usage:
    """What the folders of content take, each file counted once however many names it has."""
    sizes: dict[int, int] = {}
    owners: dict[int, set[bytes]] = defaultdict(set)
    total = 0
    for folder in sorted(content.iterdir()) if content.is_dir() else ():
        for path, _folders, names in os.walk(folder):
            for name in names:
                with suppress(FileNotFoundError):  # removed meanwhile
                    told = (Path(path) / name).stat()
                    total += told.st_size
                    sizes[told.st_ino] = told.st_size
                    owners[told.st_ino].add(bytes.fromhex(folder.name))
    shared: dict[bytes, int] = defaultdict(int)
    for inode, digests in owners.items():
        for digest in digests if len(digests) > 1 else ():
            shared[digest] += sizes[inode]
    return Usage(total, sum(sizes.values()), dict(shared))


def file_sha256(path: Path) -> bytes:
    """The SHA-256 of a file's bytes, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _link_over(source: Path, target: Path) -> None:
    """Make `target` another name of `source`: it is one or the other at every moment."""
    spare = target.with_name(target.name + SPARE)
    spare.unlink(missing_ok=True)
    spare.hardlink_to(source)
    spare.replace(target)
