"""Secrets in transit. Rule: a body opens only for its provider, lease and job; a picture only for who paid its key.

Bodies: HPKE (RFC 9180), X25519 + HKDF-SHA256 + AES-256-GCM, `info` = type || lease id || job id. Pictures: AES-256-GCM
under 32 random bytes used once, so the nonce is zero; the hashlock commits to the key, the receipt to the ciphertext.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from gpufair.protocol import limits, wire
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import JobBody

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_BODY_TYPE = b"application/vnd.gpufair.job-body.v1+protobuf"
_NONCE = bytes(12)
_PROBE = X25519PrivateKey.from_private_bytes(bytes(32))
"""Any private key finds a point of low order out: the secret that they share is zero."""
CIPHER_OVERHEAD = 16
"""Bytes by which a ciphertext is longer than its picture."""


def check_recipient(recipient: bytes) -> None:
    """Raise PeerError for a sealing key that nothing can be sealed to: of another length, or a point of low order."""
    try:
        _PROBE.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError as error:
        raise _unusable() from error


def seal_body(body: JobBody, recipient: bytes, *, lease: bytes, job: bytes) -> bytes:
    """Seal a job's body to a provider's sealing key (32 raw bytes); see `seal_plain`."""
    return seal_plain(wire.encode(body), recipient, lease=lease, job=job)


def seal_plain(plain: bytes, recipient: bytes, *, lease: bytes, job: bytes) -> bytes:
    """Seal the wire bytes of a job's body. Never twice the same bytes.

    Raises PeerError for a key that nothing can be sealed to.
    """
    try:
        return _SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(recipient), _BODY_TYPE + lease + job)
    except ValueError as error:
        raise _unusable() from error


def _unusable() -> PeerError:
    return PeerError(Fault.MALFORMED, "the provider's sealing key is none that anything could be sealed to")


def open_body(sealed: bytes, key: X25519PrivateKey, *, lease: bytes, job: bytes) -> JobBody:
    """Open a sealed body; see `open_plain`."""
    return wire.decode(JobBody, open_plain(sealed, key, lease=lease, job=job))


def open_plain(sealed: bytes, key: X25519PrivateKey, *, lease: bytes, job: bytes) -> bytes:
    """A body's wire bytes. Raises PeerError if it was not sealed to this key for this lease and job."""
    if len(sealed) > limits.SEALED_MAX:
        raise PeerError(Fault.TOO_LARGE, f"the sealed body has {len(sealed)} bytes")
    try:
        return _SUITE.decrypt(sealed, key, _BODY_TYPE + lease + job)
    except (InvalidTag, ValueError) as error:
        raise PeerError(
            Fault.MALFORMED, "the body does not open: it was sealed to another key, lease or job"
        ) from error


def encrypt_output(plain: bytes, key: bytes) -> bytes:
    """A delivery's ciphertext. `key` must be fresh: it is never used for anything else."""
    return AESGCM(key).encrypt(_NONCE, plain, None)


def decrypt_output(cipher: bytes, key: bytes) -> bytes:
    """The delivered bytes. Raises PeerError if the key does not open this ciphertext: keep both, they are evidence."""
    try:
        return AESGCM(key).decrypt(_NONCE, cipher, None)
    except InvalidTag as error:
        raise PeerError(Fault.MALFORMED, "the revealed key does not open the delivery") from error
