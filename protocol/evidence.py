"""What convicts a cheat. Rule: only what the accused itself has signed counts, and what belongs to that by its digest.

Nobody is believed, least of all whoever brings the evidence: from the same bytes everybody comes to the same judgement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from gpufair.protocol import auditing, envelope, limits, sealing, trace, wire
from gpufair.protocol.envelope import D, Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.messages import (
    Audit,
    AuditAnswer,
    AuditFile,
    Crime,
    Envelope,
    Evidence,
    Goods,
    Head,
    JobAcceptance,
    JobHeader,
    JournalHead,
    NodeRecord,
    Offer,
    Receipt,
)


class Proof(IntEnum):
    """Proved: anyone who reads it knows. Disproved: it shows nothing. Replay: whoever has the model can find out."""

    DISPROVED = 0
    PROVED = 1
    REPLAY = 2


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a piece of evidence is worth, and what it shows or lacks, in words."""

    proof: Proof
    what: str


# --- making it -------------------------------------------------------------------------------------------------------


def two_broadcasts(head: Head, one: Envelope, other: Envelope) -> Evidence:
    """Two offers, or two node records, of one sequence."""
    return _evidence(head, one, Crime.TWO_BROADCASTS, (one, other))


def two_heads(head: Head, one: Envelope, other: Envelope) -> Evidence:
    """Two journal heads of one sequence."""
    return _evidence(head, one, Crime.TWO_HEADS, (one, other))


def noise(head: Head, receipt: Envelope, cipher: bytes, key: bytes) -> Evidence:
    """A delivery whose key opens something else than its receipt says, or nothing."""
    return _evidence(head, receipt, Crime.NOISE, (receipt,), (cipher, key))


def false_leaf(head: Head, receipt: Envelope, cipher: bytes, key: bytes, leaves: Sequence[bytes]) -> Evidence:
    """A checkpoint that is not the state which its trace has there."""
    return _evidence(head, receipt, Crime.FALSE_LEAF, (receipt,), (cipher, key, b"".join(leaves)))


def failed_audit(head: Head, accused: str, file: bytes) -> Evidence:
    """An audit that did not pass (the wire bytes of an `AuditFile`)."""
    return Evidence(head, accused, Crime.FAILED_AUDIT, (), (file,))


def fits(evidence: Evidence) -> bool:
    """Whether it is small enough to travel: what is not stays with whoever has it."""
    size = sum(map(len, (*evidence.documents, *evidence.blobs)))
    return size <= limits.PAYLOAD_MAX - limits.KIB


def _evidence(
    head: Head, first: Envelope, crime: Crime, documents: Sequence[Envelope], blobs: tuple[bytes, ...] = ()
) -> Evidence:
    return Evidence(head, first.signatures[0].keyid, crime, tuple(wire.encode(one) for one in documents), blobs)


# --- judging it ------------------------------------------------------------------------------------------------------


def judge(evidence: Evidence) -> Judgement:
    """What it is worth. Never raises, whatever it holds."""
    judge_crime = _JUDGES.get(evidence.crime)
    if judge_crime is None:
        return Judgement(Proof.DISPROVED, "it accuses of nothing that we know")
    try:
        return judge_crime(evidence)
    except PeerError as error:
        return Judgement(Proof.DISPROVED, error.what)


def _two_broadcasts(evidence: Evidence) -> Judgement:
    _shape(evidence, documents=2)
    is_offer = _envelope(evidence.documents[0]).payload_type == Offer.TYPE
    kind: type[Offer | NodeRecord] = Offer if is_offer else NodeRecord
    one, other = (_signed(evidence, data, kind) for data in evidence.documents)
    _need(one.doc.head.audience == other.doc.head.audience == (BROADCAST,), "they are not for everyone")
    _need(one.doc.sequence == other.doc.sequence, "their sequences differ")
    _need(one.id != other.id, "they are one and the same")
    word = "offers" if is_offer else "node records"
    return Judgement(Proof.PROVED, f"it signed two {word} of the sequence {one.doc.sequence}")


def _two_heads(evidence: Evidence) -> Judgement:
    _shape(evidence, documents=2)
    one, other = (_signed(evidence, data, JournalHead) for data in evidence.documents)
    _need(one.doc.sequence == other.doc.sequence, "their sequences differ")
    _need(one.doc.hash != other.doc.hash, "they agree")
    return Judgement(Proof.PROVED, f"it signed two journals of {one.doc.sequence} events")


def _noise(evidence: Evidence) -> Judgement:
    _shape(evidence, documents=1, blobs=2)
    receipt = _signed(evidence, evidence.documents[0], Receipt)
    opened = _opened(receipt.doc, *evidence.blobs)
    _need(opened is None or not _is_plain(receipt.doc, opened), "the key opens what the receipt says")
    return Judgement(Proof.PROVED, "the key of a delivery opens something else than its receipt says")


def _false_leaf(evidence: Evidence) -> Judgement:
    _shape(evidence, documents=1, blobs=3)
    receipt = _signed(evidence, evidence.documents[0], Receipt).doc
    cipher, key, joined = evidence.blobs
    _need(receipt.goods is Goods.CHECKPOINT, "it is about no checkpoint")
    opened = _opened(receipt, cipher, key)
    if opened is None or not _is_plain(receipt, opened):
        return Judgement(Proof.PROVED, "the key of a checkpoint opens something else than its receipt says")
    leaves = [joined[at : at + trace.DIGEST_BYTES] for at in range(0, len(joined), trace.DIGEST_BYTES)]
    states = receipt.last_step - receipt.spec.done + 1
    _need(len(joined) == states * trace.DIGEST_BYTES and receipt.leaf_count == states, "its leaves are not all")
    _need(trace.root(leaves) == receipt.trace_root, "its leaves are not those of the receipt")
    _need(not _is_behind(opened, receipt.last_step, leaves[-1]), "the checkpoint is the state that its trace has there")
    return Judgement(Proof.PROVED, f"the checkpoint of step {receipt.last_step} is not the state that its trace has")


def _failed_audit(evidence: Evidence) -> Judgement:
    """Only that all of it is about one picture, and that the accused made it and answered for it."""
    _shape(evidence, documents=0, blobs=1)
    file = wire.decode(AuditFile, evidence.blobs[0])
    receipt, acceptance = _signed(evidence, file.receipt, Receipt), _signed(evidence, file.acceptance, JobAcceptance)
    _need(bool(file.answer), "nobody answered that audit")
    answer = _signed(evidence, file.answer, AuditAnswer)
    header = envelope.authenticate(envelope.read(_envelope(file.header), JobHeader))
    audit = envelope.authenticate(envelope.read(_envelope(file.audit), Audit))
    named = (receipt.doc.lease, receipt.doc.job)
    _need(receipt.doc.goods is Goods.PICTURE, "its receipt is for no picture")
    _need(receipt.doc.head.parent == acceptance.doc.head.parent == header.id, "its receipt is of another job")
    _need(receipt.doc.attempt == acceptance.doc.attempt, "its receipt is of another attempt")
    _need((header.doc.lease, header.doc.job) == named == (audit.doc.lease, audit.doc.job), "it mixes jobs")
    _need(audit.doc.picture == receipt.doc.picture, "it mixes pictures")
    _need(audit.issuer == header.issuer, "its audit is not of the job's client")
    _need(auditing.commitment(audit.doc.nonce) == header.doc.audit_commitment, "its nonce was not committed to")
    _need(answer.doc.head.parent == audit.id, "its answer is to another audit")
    return Judgement(Proof.REPLAY, "a replay of the step that was drawn shows whether it holds")


_JUDGES: dict[Crime, Callable[[Evidence], Judgement]] = {
    Crime.TWO_BROADCASTS: _two_broadcasts,
    Crime.TWO_HEADS: _two_heads,
    Crime.NOISE: _noise,
    Crime.FALSE_LEAF: _false_leaf,
    Crime.FAILED_AUDIT: _failed_audit,
}


# --- what all of them ask --------------------------------------------------------------------------------------------


def _need(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it reads as a sentence
    if not holds:
        raise PeerError(Fault.MALFORMED, otherwise)


def _shape(evidence: Evidence, *, documents: int, blobs: int = 0) -> None:
    given = (len(evidence.documents), len(evidence.blobs))
    _need(given == (documents, blobs), f"it has {given[0]} documents and {given[1]} blobs, not {documents} and {blobs}")


def _envelope(data: bytes) -> Envelope:
    return wire.decode(Envelope, data)


def _signed(evidence: Evidence, data: bytes, kind: type[D]) -> Signed[D]:
    """A document that the accused issued and signed."""
    signed = envelope.authenticate(envelope.read(_envelope(data), kind))
    _need(signed.issuer == evidence.accused, "what it shows is signed by somebody else")
    return signed


def _opened(receipt: Receipt, cipher: bytes, key: bytes) -> bytes | None:
    """What the key opens; None for nothing. Raises PeerError where either is not the one that the receipt names."""
    _need(hashlib.sha256(cipher).digest() == receipt.cipher_sha256, "the ciphertext is not the one of the receipt")
    _need(hashlib.sha256(key).digest() == receipt.hashlock, "the key is not the one of the receipt")
    _need(len(key) == limits.KEY_BYTES, "a key has 32 bytes")
    try:
        return sealing.decrypt_output(cipher, key)
    except PeerError:
        return None


def _is_plain(receipt: Receipt, opened: bytes) -> bool:
    return (len(opened), hashlib.sha256(opened).digest()) == (receipt.plain_length, receipt.plain_sha256)


def _is_behind(state: bytes, step: int, leaf: bytes) -> bool:
    return bool(state) and len(state) % 4 == 0 and trace.leaf(step, state) == leaf
