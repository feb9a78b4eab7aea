"""Who signs. Rule: an identity is `did:key` over Ed25519 and nothing else: the did is the key."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpufair.protocol.errors import Fault, PeerError

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ED25519_MULTICODEC = b"\xed\x01"
_PREFIX = "did:key:z"
_FIELD = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_WEAK = frozenset((0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8))
"""The y of the eight points of small order: signatures under such a key can be made by anybody."""


class Signer(Protocol):
    """Something that signs for one did: a key in memory, later a hardware key or an agent."""

    @property
    def did(self) -> str:
        """The did that this signs for."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `data`."""
        ...


class KeySigner:
    """A signer whose private key is in memory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._did = did_of(key.public_key())

    @classmethod
    def from_seed(cls, seed: bytes) -> KeySigner:
        """The signer of a 32-byte seed; the caller says where the randomness comes from."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def did(self) -> str:
        """The did of the key."""
        return self._did

    @property
    def key(self) -> Ed25519PrivateKey:
        """The private key, for the key file alone."""
        return self._key

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of `data`."""
        return self._key.sign(data)


def did_of(key: Ed25519PublicKey) -> str:
    """`did:key:z` + base58btc(0xed01 + the 32-byte key)."""
    return _PREFIX + _base58(_ED25519_MULTICODEC + key.public_bytes(Encoding.Raw, PublicFormat.Raw))


@lru_cache(maxsize=4096)
def public_key(did: str) -> Ed25519PublicKey:
    """The key inside a did. Raises PeerError for anything that is not the one canonical form of an Ed25519 did:key."""
    if not did.startswith(_PREFIX) or len(did) > 64:
        raise PeerError(Fault.MALFORMED, "the identity is not an Ed25519 did:key")
    raw = _unbase58(did[len(_PREFIX) :])
    if len(raw) != 34 or not raw.startswith(_ED25519_MULTICODEC):
        raise PeerError(Fault.MALFORMED, "the identity is not an Ed25519 did:key")
    y = int.from_bytes(raw[2:], "little") % 2**255
    if y >= _FIELD or y in _WEAK:
        raise PeerError(Fault.MALFORMED, "the identity's key is not one that only its owner can sign with")
    return Ed25519PublicKey.from_public_bytes(raw[2:])


def verify(did: str, data: bytes, signature: bytes) -> None:
    """Check a signature. Raises PeerError if it is not `did`'s over exactly `data`."""
    try:
        public_key(did).verify(signature, data)
    except InvalidSignature as error:
        raise PeerError(Fault.BAD_SIGNATURE, f"the signature is not {short(did)}'s over these bytes") from error


def short(did: str) -> str:
    """A did that fits in a line: enough to tell two apart by eye, never to compare by program."""
    return f"{did[len(_PREFIX) : len(_PREFIX) + 12]}…" if did.startswith(_PREFIX) else did[:13]


def _base58(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, rest = divmod(number, 58)
        digits = _ALPHABET[rest] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + digits


def _unbase58(text: str) -> bytes:
    number = 0
    for char in text:
        digit = _ALPHABET.find(char)
        if digit < 0:
            raise PeerError(Fault.MALFORMED, "the identity is not base58")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
