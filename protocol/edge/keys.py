"""The keys of a node or a buyer on disk. Rule: a private key is never readable by others and never overwritten.

One folder (0700) holds one identity: the Ed25519 key that is the did, the X25519 keys that job bodies are sealed to
(one at first; a node's `sealing_keys` makes newer ones and erases old ones), and the TLS key with its certificate, each
a PKCS#8 PEM file (0600), under a passphrase if the owner wants one. The folder appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gpufair.protocol import limits
from gpufair.protocol.edge import backups, files, tls
from gpufair.protocol.edge.tls import TlsIdentity
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.identity import KeySigner

IDENTITY, SEALING, TLS_KEY, TLS_CERTIFICATE = "identity.pem", "sealing.pem", "tls-key.pem", "tls-cert.pem"
_SEALING_NAME = re.compile(r"sealing(?:-([0-9]{1,9}))?\.pem")
_PASSPHRASE_MAX = 1000  # bytes; OpenSSL takes no more
_FILE_MAX = 4 * limits.KIB


@dataclass(frozen=True, slots=True)
class Keys:
    """Everything secret that makes one identity."""

    signer: KeySigner
    sealings: Mapping[str, X25519PrivateKey]
    """By file name, the oldest first."""
    tls: TlsIdentity
    passphrase: str | None = field(default=None, repr=False)
    """What the files are under: a key that is made later goes under the same."""

    @property
    def did(self) -> str:
        """Whose keys they are."""
        return self.signer.did

    @property
    def sealing(self) -> X25519PrivateKey:
        """The newest sealing key."""
        return self.sealings[max(self.sealings, key=sealing_number)]

    @property
    def sealing_public(self) -> bytes:
        """Its public half, as a node record has it: 32 raw bytes."""
        return self.sealing.public_key().public_bytes_raw()


def exists(folder: Path) -> bool:
    """Whether an identity lies there (readable or not)."""
    return (folder / IDENTITY).exists()


def create(folder: Path, *, passphrase: str | None = None) -> Keys:
    """Make a new identity in `folder`. Raises LocalError (CONFLICT) if anything is there already."""
    sealing = {SEALING: X25519PrivateKey.generate()}
    keys = Keys(KeySigner(Ed25519PrivateKey.generate()), sealing, tls.create(), passphrase)
    _put(folder, _pack(keys, passphrase))
    return keys


def load(folder: Path, *, passphrase: str | None = None) -> Keys:
    """Read the identity in `folder`.

    Raises LocalError: UNKNOWN (none there), NOT_ALLOWED (others can read it, the passphrase is missing or wrong),
    MALFORMED (damaged).
    """
    if not exists(folder):
        raise LocalError(Fault.UNKNOWN, f"there is no identity in {folder}", hint="make one with the command init")
    files.check_folder(folder)
    try:
        packed = _read(folder)
    except LocalError as error:
        if error.fault is not Fault.UNKNOWN:
            raise
        packed = _read(folder)  # the node may just have erased an old sealing key
    return _unpack(folder, packed, passphrase)


def backup(folder: Path, file: Path, *, secret: str, passphrase: str | None = None) -> str:
    """Write the whole identity into one new file that only `secret` opens. Returns its did. Overwrites nothing."""
    keys = load(folder, passphrase=passphrase)
    backups.write(file, _pack(keys, None), secret=secret)
    return keys.did


def restore(file: Path, folder: Path, *, secret: str, passphrase: str | None = None) -> Keys:
    """Put a backup's identity into `folder`, under `passphrase` from now on. Raises LocalError if one is there."""
    keys = _unpack(file, backups.read(file, secret=secret), None)
    _put(folder, _pack(keys, passphrase))
    return replace(keys, passphrase=passphrase)


def sealing_number(name: str) -> int:
    """Which sealing key a file holds: they are numbered in the order in which they were made; -1: none."""
    found = _SEALING_NAME.fullmatch(name)
    return int(found[1] or 0) if found else -1


def sealing_name(number: int) -> str:
    """The file of a sealing key that is not the first."""
    return f"sealing-{number}.pem"


def pem_of(key: PrivateKeyTypes, passphrase: str | None) -> bytes:
    """A private key as its file has it."""
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(_passphrase(passphrase))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _read(folder: Path) -> dict[str, bytes]:
    sealing = sorted((path.name for path in folder.iterdir() if sealing_number(path.name) >= 0), key=sealing_number)
    names = (IDENTITY, *sealing, TLS_KEY, TLS_CERTIFICATE)
    return {name: files.read_private(folder / name, limit=_FILE_MAX) for name in names}


def _pack(keys: Keys, passphrase: str | None) -> dict[str, bytes]:
    tls_key = load_pem_private_key(keys.tls.key_pem, None)
    private: dict[str, PrivateKeyTypes] = {IDENTITY: keys.signer.key, **keys.sealings, TLS_KEY: tls_key}
    packed = {name: pem_of(key, passphrase) for name, key in private.items()}
    return packed | {TLS_CERTIFICATE: tls.pem_of(keys.tls.certificate)}


def _unpack(where: Path, packed: dict[str, bytes], passphrase: str | None) -> Keys:
    try:
        identity, tls_key = (_open(where, packed[name], passphrase) for name in (IDENTITY, TLS_KEY))
        names = sorted((name for name in packed if sealing_number(name) >= 0), key=sealing_number)
        opened = {name: _open(where, packed[name], passphrase) for name in names}
        certificate = x509.load_pem_x509_certificate(packed[TLS_CERTIFICATE])
    except (KeyError, ValueError) as error:
        raise _damaged(where) from error
    sealings = {name: key for name, key in opened.items() if isinstance(key, X25519PrivateKey)}
    if not sealings or len(sealings) < len(opened):
        raise _damaged(where)
    if not isinstance(identity, Ed25519PrivateKey) or not isinstance(tls_key, EllipticCurvePrivateKey):
        raise _damaged(where)
    if certificate.public_key() != tls_key.public_key():
        raise _damaged(where)
    pem = tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Keys(KeySigner(identity), sealings, TlsIdentity(certificate.public_bytes(Encoding.DER), pem), passphrase)


def _open(where: Path, pem: bytes, passphrase: str | None) -> PrivateKeyTypes:
    protected = b"ENCRYPTED" in pem
    if protected and passphrase is None:
        raise LocalError(Fault.NOT_ALLOWED, f"the keys in {where} are under a passphrase", hint="give the passphrase")
    if not protected and passphrase is not None:  # silence would let the owner believe that they are protected
        raise LocalError(Fault.CONFLICT, f"the keys in {where} are under no passphrase", hint="leave it out")
    try:
        return load_pem_private_key(pem, _passphrase(passphrase) if passphrase is not None else None)
    except ValueError as error:
        if protected:
            raise LocalError(Fault.NOT_ALLOWED, f"the passphrase does not open the keys in {where}") from error
        raise


def _put(folder: Path, packed: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, data in packed.items():
            files.write_private(temporary / name, data)
        with contextlib.suppress(FileExistsError):
            temporary.rename(folder)  # takes the place of an empty folder, never of one with anything in it
            files.sync_folder(folder.parent)
            return
        raise _occupied(folder)
    except OSError as error:
        raise (_occupied(folder) if folder.exists() else _unwritable(folder, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _passphrase(text: str) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= _PASSPHRASE_MAX:
        raise LocalError(Fault.MALFORMED, f"a passphrase has 1 to {_PASSPHRASE_MAX} bytes")
    return data


def _damaged(where: Path) -> LocalError:
    return LocalError(Fault.MALFORMED, f"the identity in {where} is damaged", hint="restore it from its backup")


def _occupied(folder: Path) -> LocalError:
    hint = "use that one, or choose another folder; nothing is ever overwritten"
    return LocalError(Fault.CONFLICT, f"something is in {folder} already", hint=hint)


def _unwritable(folder: Path, error: OSError) -> LocalError:
    return LocalError(Fault.UNAVAILABLE, f"{folder} cannot be written: {error.strerror}")
