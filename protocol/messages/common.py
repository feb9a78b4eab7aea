"""The parts that all documents share. Rule: a document says who, to whom, when, under which id, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from gpufair.protocol import fields as f
from gpufair.protocol import limits


@dataclass(frozen=True, slots=True)
class Head:
    """First field of every signed document.

    `issuer` signs; `audience` is whom it is for (`*` for all); `id` is 128 random bits, unique for the issuer;
    times are Unix milliseconds; `parent` is the document id of what this answers (empty where it answers nothing).
    """

    issuer: f.Did
    audience: Annotated[tuple[f.Audience, ...], f.Size(1, 2)]
    id: f.Id
    issued_at_ms: f.TimeMs
    expires_at_ms: f.TimeMs
    parent: f.MaybeDigest = b""


@dataclass(frozen=True, slots=True)
class Signature:
    """One Ed25519 signature over a document's pre-authentication encoding; `keyid` is the signer's did."""

    keyid: f.Did
    sig: Annotated[bytes, f.Size(64, 64)]


@dataclass(frozen=True, slots=True)
class Envelope:
    """DSSE v1: payload bytes kept verbatim, their type, and who signed them."""

    payload: Annotated[bytes, f.Size(1, limits.PAYLOAD_MAX)]
    payload_type: Annotated[str, f.Size(1, limits.TYPE_MAX), f.Printable()]
    signatures: Annotated[tuple[Signature, ...], f.Size(1, limits.SIGNATURES_MAX)]


@dataclass(frozen=True, slots=True)
class Document:
    """Base of every signed document: it knows its DSSE payload type, and how many bytes its payload may have.

    Protobuf readers skip fields that they don't know, so a document that says little can be large: hence the bound.
    """

    TYPE: ClassVar[str] = ""
    SIZE_MAX: ClassVar[int] = limits.DOCUMENT_MAX

    head: Head


class ReasonCode(IntEnum):
    """Why a bid, a job or an instruction was declined. The numbers are on the wire and never change."""

    UNSPECIFIED = 0
    OFFER_UNKNOWN = 1
    OFFER_SUPERSEDED = 2
    PRICE_TOO_LOW = 3
    CLASS_NOT_SOLD = 4
    CAP_TOO_HIGH = 5
    WINDOW_TOO_LARGE = 6
    WINDOW_TOO_SMALL = 7
    LEDGER_NOT_ACCEPTED = 8
    EXPIRY_TOO_LATE = 9
    MARGIN_TOO_SHORT = 10
    TOO_MANY_LEASES = 11
    PAUSED = 12
    DRAINING = 13
    QUEUE_FULL = 14
    MODEL_NOT_OFFERED = 15
    MODEL_REFUSED = 16
    IMAGE_NOT_OFFERED = 17
    TASK_NOT_OFFERED = 18
    SIZE_TOO_LARGE = 19
    SIZE_NOT_SUPPORTED = 20
    STEPS_TOO_MANY = 21
    COUNT_TOO_LARGE = 22
    MEMORY_SHORT = 23
    ADAPTERS_NOT_OFFERED = 24
    PRECISION_NOT_OFFERED = 25
    DEADLINE_TOO_SHORT = 26
    PRICE_ABOVE_CAP = 27
    NOT_FUNDED = 28
    LEASE_CLOSED = 29
    JOBS_IN_FLIGHT = 30
    UNPAID = 31
    BODY_WRONG = 32
    WORKER_FAILED = 33
    WORKER_GONE = 34
    DISK_SHORT = 35
    UNSECURED_LIMIT = 36
    CANCELLED = 37
    EXPIRED = 38
    RECLAIMED = 39
    RESTARTED = 40
    FUNDS_SHORT = 41
    HOLD_UNKNOWN = 42
    HOLD_CLOSED = 43
    HOLD_EXISTS = 44
    VOUCHER_WRONG = 45
    NOT_ENTITLED = 46
    ACCOUNT_UNKNOWN = 47
    PROVIDER_REFUSED = 48
    SCHEDULER_NOT_OFFERED = 49
    NOTICE_NOT_OFFERED = 50
    GPU_MISSING = 51
    REFERENCE_USED = 52
    LIMIT = 53
    INPUT_WRONG = 54
    AUDIT_FAILED = 55
    PREEMPTED = 56
    RESERVED = 57
    CHECKPOINT_WRONG = 58
    BANNED = 59
    LOST = 60
    FILTERED = 61


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason with its numbers: `wanted` is what was asked for, `limit` what would have passed, both in `unit`."""

    code: ReasonCode
    wanted: f.SignedAmount = 0
    limit: f.SignedAmount = 0
    unit: f.MaybeName = ""
    detail: f.Text = ""

    def __str__(self) -> str:
        numbers = f": {self.wanted:,} {self.unit} asked, {self.limit:,} possible" if self.unit else ""
        return f"{self.code.name.lower().replace('_', ' ')}{numbers}" + (f" ({self.detail})" if self.detail else "")


Reasons = Annotated[tuple[Reason, ...], f.Size(1, limits.REASONS_MAX)]
