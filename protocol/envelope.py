"""Signed documents. Rule: sign bytes, not objects: what was signed is kept verbatim and is never serialized again.

DSSE v1: the signature covers `"DSSEv1" SP len(type) SP type SP len(payload) SP payload`, so the payload's type is
inside it. A document's id is the SHA-256 of that encoding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

from gpufair.protocol import identity, limits, wire
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Document, Envelope, Head, Signature

Claim = tuple[str, bytes, bytes]
"""A did, bytes, and what is said to be that did's signature over them."""
Verify = Callable[[str, bytes, bytes], None]
"""`identity.verify`, or what comes to the same: it raises PeerError for a claim that does not hold."""

D = TypeVar("D", bound=Document)
D_co = TypeVar("D_co", bound=Document, covariant=True)


@dataclass(frozen=True, slots=True)
class Signed(Generic[D_co]):
    """A document together with the bytes that were signed. `id` is the document id (32 bytes)."""

    doc: D_co
    id: bytes
    envelope: Envelope

    @property
    def issuer(self) -> str:
        """Who issued the document, and signed it first."""
        return self.doc.head.issuer

    @property
    def signers(self) -> tuple[str, ...]:
        """Every did whose signature the envelope carries."""
        return tuple([s.keyid for s in self.envelope.signatures])

    @property
    def bytes(self) -> bytes:
        """The envelope's wire bytes: what is stored and sent."""
        return wire.encode(self.envelope)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed: DSSE v1's PAE of the payload and its type."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def document_id(envelope: Envelope) -> bytes:
    """SHA-256 of the pre-authentication encoding: the id of a document, whoever signed it."""
    return hashlib.sha256(pre_authentication_encoding(envelope.payload_type, envelope.payload)).digest()


def sign(doc: D, signer: identity.Signer) -> Signed[D]:
    """Serialize `doc` once and sign it. The issuer must be the signer."""
    if doc.head.issuer != signer.did:
        raise ValueError("a document is signed by its issuer first")
    payload = wire.encode(doc)
    encoding = pre_authentication_encoding(doc.TYPE, payload)
    envelope = Envelope(payload, doc.TYPE, (Signature(signer.did, signer.sign(encoding)),))
    return Signed(doc, hashlib.sha256(encoding).digest(), envelope)


def countersign(signed: Signed[D], signer: identity.Signer) -> Signed[D]:
    """The same bytes with one more signature: how a bid becomes a lease."""
    encoding = pre_authentication_encoding(signed.envelope.payload_type, signed.envelope.payload)
    more = (*signed.envelope.signatures, Signature(signer.did, signer.sign(encoding)))
    return Signed(signed.doc, signed.id, replace(signed.envelope, signatures=more))


def read(envelope: Envelope, kind: type[D]) -> Signed[D]:
    """Parse without believing: type and shape are checked, signatures are not. Follow with `authenticate`."""
    if envelope.payload_type != kind.TYPE:
        raise PeerError(Fault.WRONG_TYPE, f"expected {kind.TYPE}, got {envelope.payload_type}")
    if len(envelope.payload) > kind.SIZE_MAX:
        raise PeerError(Fault.TOO_LARGE, f"the payload has {len(envelope.payload)} bytes of {kind.SIZE_MAX}")
    return Signed(wire.decode(kind, envelope.payload), document_id(envelope), envelope)


def claims(signed: Signed[Any]) -> list[Claim]:
    """All that a document's signatures claim: what `authenticate` checks last."""
    encoding = pre_authentication_encoding(signed.envelope.payload_type, signed.envelope.payload)
    return [(signature.keyid, encoding, signature.sig) for signature in signed.envelope.signatures]


def authenticate(signed: Signed[D], *, also: Sequence[str] = (), verify: Verify = identity.verify) -> Signed[D]:
    """Check that the issuer signed, and each of `also`, and that no signature in the envelope is bad."""
    signers = signed.signers
    if tuple(signers[:1]) != (signed.issuer,) or len(set(signers)) != len(signers):
        raise PeerError(Fault.BAD_SIGNATURE, "the first signature must be the issuer's, and each signer's only one")
    missing = [identity.short(did) for did in also if did not in signers]
    if missing:
        raise PeerError(Fault.BAD_SIGNATURE, f"the signature of {', '.join(missing)} is missing")
    for claim in claims(signed):
        verify(*claim)
    return signed


def check_audience(head: Head, me: str) -> None:
    """Refuse a document that is for somebody else. What is for everyone is read as `*`: it commands nobody."""
    if me not in head.audience:
        raise PeerError(Fault.WRONG_AUDIENCE, "the document is addressed to somebody else")


def check_issued(head: Head, now_ms: int) -> None:
    """Refuse a document from the future: all that can be asked of an answer that may have been recorded long ago."""
    if head.issued_at_ms > now_ms + limits.SKEW_MS:
        ahead = (head.issued_at_ms - now_ms) // 1000
        raise PeerError(Fault.FROM_THE_FUTURE, f"issued {ahead} s in the future", hint="check both machines' clocks")


def check_time(head: Head, now_ms: int, *, lifetime_max_ms: int) -> None:
    """Refuse a document from the future, one past its end, and one that claims to live longer than it may."""
    check_issued(head, now_ms)
    if head.expires_at_ms < now_ms - limits.SKEW_MS:
        raise PeerError(Fault.EXPIRED, f"expired {(now_ms - head.expires_at_ms) // 1000} s ago")
    if head.expires_at_ms - head.issued_at_ms > lifetime_max_ms:
        raise PeerError(Fault.MALFORMED, f"lives longer than the {lifetime_max_ms // 1000} s that it may")


def receive(envelope: Envelope, kind: type[D], *, me: str, now_ms: int, lifetime_max_ms: int) -> Signed[D]:
    """The whole check of a document from outside, cheapest first: size, type, audience, time, then the signature."""
    signed = read(envelope, kind)
    check_audience(signed.doc.head, me)
    check_time(signed.doc.head, now_ms, lifetime_max_ms=lifetime_max_ms)
    return authenticate(signed)


def from_bytes(data: bytes, kind: type[D]) -> Signed[D]:
    """A document out of our own store or out of another document; signatures are not checked."""
    # A lease's few documents are looked into again and again; being frozen, they can be shared.
    if len(data) <= _REMEMBERED_MAX:
        remembered: Signed[D] = _remembered(data, kind)  # type: ignore[arg-type]  # a class is hashable
        return remembered
    return read(wire.decode(Envelope, data), kind)


_REMEMBERED_MAX = 8 * limits.KIB


@lru_cache(maxsize=1024)
def _remembered(data: bytes, kind: type[Any]) -> Signed[Any]:
    return read(wire.decode(Envelope, data), kind)
