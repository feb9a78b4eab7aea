"""What the provider must not forget. Rule: everything that was promised, done or owed is here before anyone hears."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, MetaData, Table, Text

METADATA = MetaData()


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One lease. Envelopes are verbatim; amounts are micro-credits; empty bytes mean not yet."""

    id: bytes
    state: str
    client: str
    ledger: str
    envelope: bytes
    hold_envelope: bytes
    hold: int
    kept: bytes
    """The voucher of the highest total that has come."""
    captured: int
    agreed_ms: int
    active_ms: int
    """When the client last did something under it; the idle limit counts from here."""
    expires_ms: int
    closing_reason: str
    window: int
    sealing_key: bytes
    """The public key that its jobs' bodies are sealed to: that of the node record which it names."""


@dataclass(frozen=True, slots=True)
class LeaseSealing:
    """Which key a lease needs: its row without the documents."""

    sealing_key: bytes


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One execution of a job. `answer` is the signed acceptance or decline, `ended` the signed end."""

    id: bytes
    lease: bytes
    job: bytes
    document: bytes
    header: bytes
    answer: bytes
    state: str
    sealed: bytes
    upfront: int
    increment: int
    count: int
    accepted_ms: int
    deadline_ms: int
    ended: bytes


@dataclass(frozen=True, slots=True)
class AttemptDue:
    """The money side of an attempt: its row without the documents."""

    id: bytes
    state: str
    upfront: int
    increment: int
    count: int


@dataclass(frozen=True, slots=True)
class AttemptTime:
    """How long an attempt may take: its row without the documents and the money."""

    id: bytes
    lease: bytes
    state: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery: what was made, under which key, and whether that is out. `leaves` are its trace leaves, joined."""

    lease: bytes
    job: bytes
    picture: int
    attempt: bytes
    receipt: bytes
    cipher: bytes
    leaves: bytes
    key: bytes
    hashlock: bytes
    amount: int
    revealed: bool
    made_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryDue:
    """The money side of a delivery: its row without the megabytes."""

    lease: bytes
    job: bytes
    picture: int
    attempt: bytes
    key: bytes
    hashlock: bytes
    amount: int
    revealed: bool
    made_ms: int


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request that was answered: the same bytes get the same answer. Empty where there is nothing to say again."""

    signer: str
    id: bytes
    document: bytes
    answer: bytes
    forget_ms: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An order to a ledger that must arrive. `answer` is empty until it was answered."""

    id: bytes
    lease: bytes
    ledger: str
    envelope: bytes
    final: bool
    created_ms: int
    answer: bytes


@dataclass(frozen=True, slots=True)
class CounterRow:
    """A number that only grows, by name (the sequences of our own broadcasts)."""

    name: str
    value: int


def _blob(name: str, *, key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, primary_key=key, nullable=False)


def _int(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=False)


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=False)


def _bool(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


TABLES: dict[type, Table] = {
    LeaseRow: Table(
        "leases", METADATA,
        _blob("id", key=True), _text("state"), _text("client"), _text("ledger"), _blob("envelope"),
        _blob("hold_envelope"), _int("hold"), _blob("kept"), _int("captured"),
        _int("agreed_ms"), _int("active_ms"),
        _int("expires_ms"), _text("closing_reason"), _int("window"), _blob("sealing_key"),
    ),
    AttemptRow: Table(
        "attempts", METADATA,
        _blob("id", key=True), _blob("lease"), _blob("job"), _blob("document"), _blob("header"), _blob("answer"),
        _text("state"), _blob("sealed"), _int("upfront"), _int("increment"), _int("count"), _int("accepted_ms"),
        _int("deadline_ms"), _blob("ended"),
    ),
    DeliveryRow: Table(
        "deliveries", METADATA,
        _blob("lease", key=True), _blob("job", key=True), _int("picture", key=True), _blob("attempt"), _blob("receipt"),
        _blob("cipher"), _blob("leaves"), _blob("key"), _blob("hashlock"), _int("amount"), _bool("revealed"),
        _int("made_ms"),
    ),
    RequestRow: Table(
        "requests", METADATA,
        _text("signer", key=True), _blob("id", key=True), _blob("document"), _blob("answer"), _int("forget_ms"),
    ),
    OutboxRow: Table(
        "outbox", METADATA,
        _blob("id", key=True), _blob("lease"), _text("ledger"), _blob("envelope"), _bool("final"), _int("created_ms"),
        _blob("answer"),
    ),
    CounterRow: Table("counters", METADATA, _text("name", key=True), _int("value")),
}  # fmt: skip
TABLES[LeaseSealing] = TABLES[LeaseRow]
TABLES[AttemptDue] = TABLES[AttemptRow]
TABLES[AttemptTime] = TABLES[AttemptRow]
TABLES[DeliveryDue] = TABLES[DeliveryRow]
