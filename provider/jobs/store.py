"""What the provider must not forget. Rule: everything that was promised, done or owed is here before anyone hears."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData, Table

from gpufair.protocol.edge.columns import blob, number, truth, words

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
    interruptible: bool = False


@dataclass(frozen=True, slots=True)
class LeaseSealing:
    """Which key a lease needs: its row without the documents."""

    sealing_key: bytes


@dataclass(frozen=True, slots=True)
class LeaseClass:
    """Who goes before whom: a lease's row without documents and money."""

    id: bytes
    active_ms: int
    interruptible: bool


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
    upfront: int
    increment: int
    count: int
    accepted_ms: int
    deadline_ms: int
    ended: bytes
    bodied: bool
    """Whether its body has come whole."""


@dataclass(frozen=True, slots=True)
class BodyRow:
    """The sealed body of an attempt that has not ended: up to twelve megabytes, so in a table of their own."""

    attempt: bytes
    lease: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class AttemptDue:
    """The money side of an attempt: its row without the documents."""

    id: bytes
    state: str
    upfront: int
    increment: int
    count: int
    bodied: bool


@dataclass(frozen=True, slots=True)
class AttemptTime:
    """How long an attempt may take: its row without the documents and the money."""

    id: bytes
    lease: bytes
    state: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery: what was made, under which key, and whether that is out. `leaves` are its trace leaves, joined.

    `step` is 0 for a picture; a checkpoint is that of the state after so many steps.
    """

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
    step: int = 0


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
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReservationRow:
    """So many seconds of a held worker, by the id of their order. `amount` is what they cost, less what was credited.

    `request` is the order's own id, which answers name; `ended` is the signed end, where the provider made one.
    """

    id: bytes
    lease: bytes
    request: bytes
    amount: int
    from_ms: int
    until_ms: int
    asked_ms: int
    paid: bool
    over: bool
    ended: bytes


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


TABLES: dict[type, Table] = {
    LeaseRow: Table(
        "leases", METADATA,
        blob("id", key=True), words("state"), words("client"), words("ledger"), blob("envelope"),
        blob("hold_envelope"), number("hold"), blob("kept"), number("captured"),
        number("agreed_ms"), number("active_ms"),
        number("expires_ms"), words("closing_reason"), number("window"), blob("sealing_key"),
        truth("interruptible"),
    ),
    AttemptRow: Table(
        "attempts", METADATA,
        blob("id", key=True), blob("lease"), blob("job"), blob("document"), blob("header"), blob("answer"),
        words("state"), number("upfront"), number("increment"), number("count"), number("accepted_ms"),
        number("deadline_ms"), blob("ended"), truth("bodied"),
    ),
    BodyRow: Table("bodies", METADATA, blob("attempt", key=True), blob("lease"), blob("sealed")),
    DeliveryRow: Table(
        "deliveries", METADATA,
        blob("lease", key=True), blob("job", key=True), number("picture", key=True), blob("attempt"), blob("receipt"),
        blob("cipher"), blob("leaves"), blob("key"), blob("hashlock"), number("amount"), truth("revealed"),
        number("made_ms"), number("step", key=True),
    ),
    ReservationRow: Table(
        "reservations", METADATA,
        blob("id", key=True), blob("lease"), blob("request"), number("amount"), number("from_ms"), number("until_ms"),
        number("asked_ms"), truth("paid"), truth("over"), blob("ended"),
    ),
    RequestRow: Table(
        "requests", METADATA,
        words("signer", key=True), blob("id", key=True), blob("document"), blob("answer"), number("forget_ms"),
    ),
    OutboxRow: Table(
        "outbox", METADATA,
        blob("id", key=True), blob("lease"), words("ledger"), blob("envelope"), truth("final"), number("created_ms"),
        blob("answer"),
    ),
    CounterRow: Table("counters", METADATA, words("name", key=True), number("value")),
}  # fmt: skip
TABLES[LeaseSealing] = TABLES[LeaseClass] = TABLES[LeaseRow]
TABLES[AttemptDue] = TABLES[AttemptRow]
TABLES[AttemptTime] = TABLES[AttemptRow]
TABLES[DeliveryDue] = TABLES[DeliveryRow]
