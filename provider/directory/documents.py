"""What may lie in a directory. Rule: a document proves itself, means something, and leads nobody where it shouldn't.

Cheap questions come first: `read` looks at size and shape, `check_sense` at what it says; then come signatures, and
last of all what is inside a piece of evidence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from gpufair.protocol import envelope, evidence, gossip_limits, limits, wire
from gpufair.protocol.addresses import Reach, check_endpoints
from gpufair.protocol.edge import tls
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.evidence import Proof
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.messages import Crime, Document, Envelope, Evidence, NodeRecord, Offer

Published = NodeRecord | Offer | Evidence


class Kind(IntEnum):
    """What sort of document."""

    RECORD = 1
    OFFER = 2
    EVIDENCE = 3


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document came from: the source that answers for it, and how far away that is."""

    source: str
    heard: Reach


OWN = Origin("", Reach.LOOPBACK)
"""This node itself."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a directory remembers of a document. `since_ms`: when it first heard of its place. `size` 0: buried.

    `did` is whom it is about: a record's or offer's issuer, the accused of a piece of evidence.
    """

    place: bytes
    kind: Kind
    did: str
    sequence: int
    id: bytes
    expires_at_ms: int
    size: int
    source: str
    heard: Reach
    since_ms: int


@dataclass(frozen=True, slots=True)
class Read:
    """A document that was parsed and is not believed yet."""

    signed: Signed[Document]
    kind: Kind
    did: str
    sequence: int
    place: bytes


_KINDS: dict[str, tuple[Kind, type[Published]]] = {
    NodeRecord.TYPE: (Kind.RECORD, NodeRecord),
    Offer.TYPE: (Kind.OFFER, Offer),
    Evidence.TYPE: (Kind.EVIDENCE, Evidence),
}


def place_of(kind: Kind, name: bytes) -> bytes:
    """The place of a document: of a record or offer by its issuer's did, of evidence see `_evidence_place`."""
    return hashlib.sha256(b"gpufair/place/v1\x00" + bytes([kind]) + name).digest()[: gossip_limits.PLACE_BYTES]


def read(document: Envelope) -> Read:
    """Parse a document for everyone. Raises PeerError."""
    known = _KINDS.get(document.payload_type)
    if known is None:
        raise PeerError(Fault.WRONG_TYPE, f"a directory keeps no {document.payload_type}")
    kind, shape = known
    signed: Signed[Published] = envelope.read(document, shape)
    if signed.doc.head.audience != (BROADCAST,):
        raise PeerError(Fault.WRONG_AUDIENCE, "what is published is addressed to everyone and to no one else")
    if signed.doc.head.parent:
        raise PeerError(Fault.MALFORMED, "what is published answers nothing: its parent must be empty")
    doc = signed.doc
    if isinstance(doc, Evidence):
        epoch = doc.head.issued_at_ms // limits.EVIDENCE_EPOCH_MS
        return Read(signed, kind, doc.accused, max(1, epoch), _evidence_place(doc))
    return Read(signed, kind, signed.issuer, doc.sequence, place_of(kind, signed.issuer.encode()))


def _evidence_place(doc: Evidence) -> bytes:
    """One for what proves itself, one for what a replay must judge: a weak one never takes a strong one's place."""
    slot = b"\x01" if doc.crime is Crime.FAILED_AUDIT else b"\x00"
    return place_of(Kind.EVIDENCE, slot + doc.accused.encode())


def check_time(document: Read, now_ms: int) -> None:
    """Whether it lives, by our clock."""
    lifetime_ms = limits.EVIDENCE_TTL_MS if document.kind is Kind.EVIDENCE else limits.BROADCAST_TTL_MS
    envelope.check_time(document.signed.doc.head, now_ms, lifetime_max_ms=lifetime_ms)


def check_sense(document: Read, heard: Reach) -> None:
    """Whether anyone could act on it: addresses that lead to a machine, a certificate that can be pinned.

    An address that is nearer than where it was heard of is refused here already, so that no directory passes on to its
    neighbours what would lead them astray.
    """
    doc, texts = document.signed.doc, tuple[str, ...]()
    if isinstance(doc, NodeRecord):
        tls.check_certificate(doc.tls_certificate)
        texts = doc.endpoints
    elif isinstance(doc, Offer):
        texts = tuple(ledger.endpoint for ledger in doc.ledgers)
    check_endpoints(texts, heard)


def check_proof(document: Read) -> None:
    """Whether a piece of evidence shows something, or may; of other documents nothing more is asked."""
    if isinstance(document.signed.doc, Evidence):
        judgement = evidence.judge(document.signed.doc)
        if judgement.proof is Proof.DISPROVED:
            raise PeerError(Fault.MALFORMED, f"the evidence proves nothing: {judgement.what}")


def record(document: Envelope) -> Signed[NodeRecord]:
    """A kept node record."""
    return envelope.read(document, NodeRecord)


def parsed(data: bytes) -> Envelope:
    """A kept document."""
    return wire.decode(Envelope, data)
