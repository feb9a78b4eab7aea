"""Documents that move money, and the ledger's answers. Rule: an authorisation is signed by the one who pays for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from gpufair.protocol import fields as f
from gpufair.protocol import limits
from gpufair.protocol.messages.common import Document

Reference = Annotated[str, f.Size(1, limits.REFERENCE_MAX), f.Printable()]


@dataclass(frozen=True, slots=True)
class Lock:
    """`amount` is owed to whoever shows the 32-byte key whose SHA-256 is `hashlock`."""

    amount: f.PositiveAmount
    hashlock: f.Digest


@dataclass(frozen=True, slots=True)
class Voucher(Document):
    """The client's cumulative promise under a lease: `unlocked`, plus a lock for each delivery that waits for its key.

    Audience: the ledger, then the payee. It lives as long as its hold.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.voucher.v1+protobuf"
    SIZE_MAX: ClassVar[int] = limits.VOUCHER_MAX

    lease: f.Digest
    unlocked: f.Amount
    locks: Annotated[tuple[Lock, ...], f.Size(0, limits.LOCKS_MAX)]


@dataclass(frozen=True, slots=True)
class HoldOrder(Document):
    """The payer reserves `amount` for the payee under a lease, until `hold_expires_at_ms` by the ledger's clock."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.hold-order.v1+protobuf"

    lease: f.Digest
    payee: f.Did
    amount: f.PositiveAmount
    hold_expires_at_ms: f.TimeMs


@dataclass(frozen=True, slots=True)
class Hold(Document):
    """The ledger states that the funds are reserved. `head.parent` is the order."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.hold.v1+protobuf"

    lease: f.Digest
    payer: f.Did
    payee: f.Did
    amount: f.PositiveAmount
    hold_expires_at_ms: f.TimeMs
    event: f.Sequence


@dataclass(frozen=True, slots=True)
class Capture(Document):
    """The payee shows one voucher (an envelope, verbatim) and every key it has for it. `final` gives the rest back.

    Without a voucher it must be final: a capture of zero.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.capture.v1+protobuf"

    lease: f.Digest
    voucher: f.MaybeEnvelopeBytes
    keys: Annotated[tuple[f.Key, ...], f.Size(0, limits.LOCKS_MAX)]
    final: bool


@dataclass(frozen=True, slots=True)
class Captured(Document):
    """The ledger's answer: what this capture paid, what the hold has paid in all, what went back to the payer."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.captured.v1+protobuf"

    lease: f.Digest
    paid: f.Amount
    captured: f.Amount
    released: f.Amount
    closed: bool
    event: f.Count
    """The event that paid; 0 where nothing moved."""


@dataclass(frozen=True, slots=True)
class Pay(Document):
    """The issuer of this order pays `amount` to `payee`, at once and for good."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.pay.v1+protobuf"

    payee: f.Did
    amount: f.PositiveAmount
    memo: Annotated[str, f.Size(0, limits.REFERENCE_MAX), f.Printable()]


@dataclass(frozen=True, slots=True)
class Issue(Document):
    """The operator puts credits into an account against a payment outside, which `reference` names."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.issue.v1+protobuf"

    account: f.Did
    amount: f.PositiveAmount
    reference: Reference


@dataclass(frozen=True, slots=True)
class Redeem(Document):
    """The operator takes credits out of an account against a payment outside, which `reference` names."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.redeem.v1+protobuf"

    account: f.Did
    amount: f.PositiveAmount
    reference: Reference


@dataclass(frozen=True, slots=True)
class Posted(Document):
    """The ledger's answer to pay, issue and redeem: the event, and the instructed account's funds after it."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.posted.v1+protobuf"

    event: f.Sequence
    account: f.Did
    available: f.Amount
    held: f.Amount


class QueryKind(IntEnum):
    """What is asked of a ledger."""

    UNSPECIFIED = 0
    BALANCE = 1
    STATEMENT = 2
    JOURNAL = 3
    HOLD = 4


@dataclass(frozen=True, slots=True)
class Query(Document):
    """A signed question to the ledger; it answers only what the asker is entitled to see.

    `account`: whose balance or statement; `lease`: which hold (empty otherwise); `since`: the first event wanted.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.query.v1+protobuf"

    kind: QueryKind
    account: f.Did
    lease: f.MaybeDigest
    since: f.Count


@dataclass(frozen=True, slots=True)
class Balance(Document):
    """An account's funds: `available` to spend or hold, `held` for open leases, `earning` held by others for it."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.balance.v1+protobuf"

    account: f.Did
    available: f.Amount
    held: f.Amount
    earning: f.Amount
    event: f.Count


@dataclass(frozen=True, slots=True)
class HoldState(Document):
    """One hold as it is now, with every key that its captures have shown."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.hold-state.v1+protobuf"
    SIZE_MAX: ClassVar[int] = limits.PAYLOAD_MAX

    lease: f.Digest
    payer: f.Did
    payee: f.Did
    amount: f.PositiveAmount
    captured: f.Amount
    released: f.Amount
    closed: bool
    hold_expires_at_ms: f.TimeMs
    keys: Annotated[tuple[f.Key, ...], f.Size(0, 16384)]


class Bucket(IntEnum):
    """Which part of an account a leg moves: the operator's issue counter-account, free funds, or reserved funds."""

    UNSPECIFIED = 0
    ISSUED = 1
    AVAILABLE = 2
    HELD = 3


class EventKind(IntEnum):
    """What happened in the book."""

    UNSPECIFIED = 0
    ISSUED = 1
    REDEEMED = 2
    PAID = 3
    HELD = 4
    CAPTURED = 5
    EXPIRED = 6


@dataclass(frozen=True, slots=True)
class Leg:
    """One posting of an event; the legs of an event sum to zero."""

    account: f.Did
    bucket: Bucket
    amount: f.SignedAmount


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the journal, chained to the one before. `instruction` is the signed order (an envelope, verbatim).

    An expiry has no instruction: it follows from the hold's own terms and `at_ms`.
    """

    sequence: f.Sequence
    previous: f.Digest
    kind: EventKind
    at_ms: f.TimeMs
    lease: f.MaybeDigest
    instruction: Annotated[bytes, f.Size(0, 2 * limits.PAYLOAD_MAX)]
    legs: Annotated[tuple[Leg, ...], f.Size(0, 8)]


@dataclass(frozen=True, slots=True)
class JournalHead(Document):
    """The ledger's signature over the newest event: who signs two heads for one sequence has lied."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.journal-head.v1+protobuf"

    sequence: f.Count
    hash: f.Digest
