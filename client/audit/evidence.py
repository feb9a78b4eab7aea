"""The documents of an audit, each held by the one before. Rule: of a file only that counts which a signature holds.

The header says what was ordered, the acceptance that the provider took it, the receipt what it says that it did; the
audit reveals the nonce that the header had committed to, and the answer opens the receipt's trace. The body is the one
that was ordered, and the picture the one that was delivered, by their digests.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeVar

from gpufair.client.failures import VerificationError
from gpufair.protocol import auditing, envelope, wire
from gpufair.protocol.envelope import D, Signed
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import (
    Audit,
    AuditAnswer,
    AuditFile,
    AuditReport,
    Envelope,
    JobAcceptance,
    JobBody,
    JobHeader,
    Receipt,
)

_ADVICE = "it proves nothing: ask for the file again where it came from"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """An audit whose documents hold together. No answer: nobody proved anything."""

    header: Signed[JobHeader]
    acceptance: Signed[JobAcceptance]
    receipt: Signed[Receipt]
    audit: Signed[Audit]
    answer: Signed[AuditAnswer] | None
    report: Signed[AuditReport] | None
    body: JobBody
    file: AuditFile

    @property
    def provider(self) -> str:
        """Who made the picture."""
        return self.receipt.issuer

    @property
    def steps(self) -> int:
        """The steps that the trace has."""
        return self.receipt.doc.leaf_count - 1

    @property
    def step(self) -> int:
        """The step that was drawn, of all the picture's."""
        place = auditing.drawn(self.receipt.doc.trace_root, self.audit.doc.nonce, self.steps)
        return self.receipt.doc.spec.done + place


def read(data: bytes) -> AuditFile:
    """An audit's file. Raises VerificationError."""
    try:
        return wire.decode(AuditFile, data)
    except PeerError as error:
        raise VerificationError(f"this is no audit's file: {error.what}", hint=_ADVICE) from error


def open_case(file: AuditFile) -> Case:
    """Check all signatures and every link between the documents. Raises VerificationError for the first that breaks."""
    try:
        case = Case(
            _signed(file.header, JobHeader),
            _signed(file.acceptance, JobAcceptance),
            _signed(file.receipt, Receipt),
            _signed(file.audit, Audit),
            _signed(file.answer, AuditAnswer) if file.answer else None,
            _signed(file.report, AuditReport) if file.report else None,
            wire.decode(JobBody, file.body),
            file,
        )
    except PeerError as error:
        raise VerificationError(error.what, hint=_ADVICE) from error
    for holds, what in (*_order(case), *_goods(case), *_proof(case)):
        if not holds:
            raise VerificationError(what, hint=_ADVICE)
    return case


def _signed(data: bytes, kind: type[D]) -> Signed[D]:
    return envelope.authenticate(envelope.read(wire.decode(Envelope, data), kind))


def _order(case: Case) -> list[tuple[bool, str]]:
    header, acceptance, receipt = case.header, case.acceptance, case.receipt
    same_job = (header.doc.lease, header.doc.job)
    return [
        (acceptance.doc.head.parent == header.id, "the acceptance is not of this job"),
        (acceptance.issuer == receipt.issuer, "the receipt is not signed by whoever accepted the job"),
        (acceptance.issuer in header.doc.head.audience, "the job was ordered from somebody else"),
        ((acceptance.doc.lease, acceptance.doc.job) == same_job, "the acceptance names another job"),
        (receipt.doc.head.parent == header.id, "the receipt is not of this job"),
        ((receipt.doc.lease, receipt.doc.job) == same_job, "the receipt names another job"),
        (receipt.doc.attempt == acceptance.doc.attempt, "the receipt is of another attempt"),
        (receipt.doc.spec == header.doc.spec, "the receipt is for other work than was ordered"),
        (case.steps == header.doc.spec.steps - header.doc.spec.done, "the trace has other steps than were ordered"),
    ]


def _goods(case: Case) -> list[tuple[bool, str]]:
    file, receipt, header = case.file, case.receipt.doc, case.header.doc
    return [
        (bool(header.plain_sha256), "the job does not say by its digest what was ordered"),
        (hashlib.sha256(file.body).digest() == header.plain_sha256, "the order is not the one that the job names"),
        (hashlib.sha256(file.png).digest() == receipt.plain_sha256, "the picture is not the one of its receipt"),
    ]


def _proof(case: Case) -> list[tuple[bool, str]]:
    header, audit, receipt = case.header, case.audit.doc, case.receipt.doc
    named = (audit.lease, audit.job, audit.picture)
    links = [
        (case.audit.issuer == header.issuer, "the audit is not signed by the job's client"),
        (named == (receipt.lease, receipt.job, receipt.picture), "the audit is of another picture"),
        (auditing.commitment(audit.nonce) == header.doc.audit_commitment, "the nonce is not the one committed to"),
    ]
    if case.answer is not None:
        links += [
            (case.answer.issuer == case.provider, "the answer is not signed by the provider"),
            (case.answer.doc.head.parent == case.audit.id, "the answer is to another audit"),
        ]
    if case.report is not None:
        links.append((case.report.doc.receipt == case.receipt.id, "the report is about another picture"))
    return links
