"""The backup file of an identity. Rule: one file, opened by one secret, the same on every machine; overwrites nothing.

Layout: magic, 16 bytes of salt, 12 of nonce, then AES-256-GCM over JSON {file name: PEM text}, the key being scrypt of
the secret. The cost of scrypt belongs to the magic's version: a file never chooses how much memory is spent on it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gpufair.protocol import limits
from gpufair.protocol.edge import files
from gpufair.protocol.errors import Fault, LocalError

_MAGIC = b"gpufair identity backup 1\n"
_SALT, _NONCE = 16, 12
_HEAD = len(_MAGIC) + _SALT + _NONCE
_FILE_MAX = 64 * limits.KIB
SECRET_MIN = 8
"""Characters of a backup's secret: the file is made to lie in other people's reach."""


def write(file: Path, contents: dict[str, bytes], *, secret: str) -> None:
    """Encrypt `contents` into a new file. Raises LocalError if `file` exists or the secret is too short."""
    if len(secret) < SECRET_MIN:
        raise LocalError(Fault.MALFORMED, f"the secret of a backup has at least {SECRET_MIN} characters")
    if file.exists() or file.is_symlink():
        raise LocalError(Fault.CONFLICT, f"{file} exists already", hint="choose another name; nothing is overwritten")
    head = _MAGIC + os.urandom(_SALT + _NONCE)
    plain = json.dumps({name: data.decode("ascii") for name, data in contents.items()}).encode()
    try:
        files.write_private(file, head + AESGCM(_key(secret, head)).encrypt(_nonce(head), plain, head))
    except OSError as error:
        raise LocalError(Fault.UNAVAILABLE, f"{file} cannot be written: {error.strerror}") from error


def read(file: Path, *, secret: str) -> dict[str, bytes]:
    """Open a backup. Raises LocalError: MALFORMED for another file, NOT_ALLOWED for a wrong secret or a changed one."""
    try:
        with file.open("rb") as stream:  # whoever may read it: it is sealed, and lies where its owner put it
            data = stream.read(_FILE_MAX + 1)
    except OSError as error:
        raise LocalError(Fault.UNKNOWN, f"{file} cannot be read: {error.strerror}") from error
    if not data.startswith(_MAGIC) or not _HEAD < len(data) <= _FILE_MAX:
        raise LocalError(Fault.MALFORMED, f"{file} is not a backup of an identity")
    head = data[:_HEAD]
    try:
        plain = AESGCM(_key(secret, head)).decrypt(_nonce(head), data[_HEAD:], head)
    except InvalidTag as error:
        raise LocalError(Fault.NOT_ALLOWED, f"the secret does not open {file}, or the file was changed") from error
    contents: dict[str, str] = json.loads(plain)
    return {name: text.encode("ascii") for name, text in contents.items()}


def _nonce(head: bytes) -> bytes:
    return head[-_NONCE:]


def _key(secret: str, head: bytes) -> bytes:
    salt = head[len(_MAGIC) : len(_MAGIC) + _SALT]
    return Scrypt(salt=salt, length=32, n=2**16, r=8, p=1).derive(secret.encode())  # 64 MiB and about 0.2 s a guess
