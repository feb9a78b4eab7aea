"""What the buyer must not forget. Rule: leases, vouchers, ciphertexts and receipts are here before they are used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import MetaData, Table

from gpufair.client.wallet import batches, deliveries, reservations, sequels
from gpufair.protocol.edge.columns import blob, number, truth, words
from gpufair.protocol.edge.rows import Fault, RowStore, no_fault
from gpufair.protocol.edge.sqlite import Database, open_database

MIGRATIONS = "gpufair.client.wallet:migrations"
METADATA = MetaData()


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One lease that we asked for. Envelopes are verbatim (empty: not yet); amounts are micro-credits."""

    id: bytes
    provider: str
    ledger: str
    state: str
    envelope: bytes
    """Our bid; once agreed, with the provider's signature too."""
    offer: bytes
    record: bytes
    """The provider's node record that the lease names: where it is, and the key that bodies are sealed to."""
    order: bytes
    hold: bytes
    voucher: bytes
    """The newest voucher we signed."""
    cap: int
    window: int
    expires_ms: int
    hold_expires_ms: int
    created_ms: int
    captured: int
    released: int
    distrust: str
    """Why we sign nothing more under this lease; empty while all is well."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job. `body` is its plain body but for the pictures in it (it never leaves this file)."""

    id: bytes
    lease: bytes
    document: bytes
    state: str
    header: bytes
    body: bytes
    acceptance: bytes
    upfront: int
    """The up-front lines that were accepted, less what came back."""
    increment: int
    count: int
    created_ms: int
    ended: bytes
    note: str
    """Why it ended as it did, for people."""
    prompt: str
    prepaid: bool
    """Whether its up-front lines were promised, and so its body may go out."""


@dataclass(frozen=True, slots=True)
class BodyRow:
    """A job's body, pictures and all: up to twelve megabytes, so in a table of their own.

    `plain` are the bytes whose digest the header names, `sealed` what is sent; that is empty once the lease is settled.
    """

    lease: bytes
    job: bytes
    plain: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class JobDue:
    """The money side of a job: its row without all of its documents but one."""

    id: bytes
    state: str
    acceptance: bytes
    upfront: int
    increment: int
    count: int
    prepaid: bool


@dataclass(frozen=True, slots=True)
class JobKey:
    """Which jobs there are: their rows without any document."""

    id: bytes
    lease: bytes
    created_ms: int


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """What proves a cheat that we never paid for: a signed envelope, and the ciphertext if that is part of it."""

    lease: bytes
    job: bytes
    """Empty: it is the ledger's."""
    what: str
    document: bytes
    cipher: bytes


@dataclass(frozen=True, slots=True)
class EvidenceNote:
    """Evidence without the megabytes."""

    lease: bytes
    job: bytes
    what: str
    document: bytes


@dataclass(frozen=True, slots=True)
class NonceRow:
    """What a job's header committed to: it draws the step that an audit looks at, and is nobody's before that."""

    lease: bytes
    job: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What the newest audit of a picture came to: our signed report, and of a failed one the whole evidence."""

    lease: bytes
    job: bytes
    picture: int
    verdict: str
    made_ms: int
    report: bytes
    file: bytes
    """An `AuditFile`; empty unless it failed."""


@dataclass(frozen=True, slots=True)
class BanRow:
    """A provider that we don't buy from until told otherwise, and why."""

    did: str
    why: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class PairRow:
    """Two envelopes that one identity signed and that must not both exist: they convict it of a `Crime`."""

    did: str
    crime: int
    one: bytes
    other: bytes


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A node that we start looking from, as the user named it."""

    address: str
    did: str
    added_ms: int


@dataclass(frozen=True, slots=True)
class SequenceRow:
    """The highest sequence of a did's broadcasts that we have taken: none older is ever taken again."""

    did: str
    kind: str
    sequence: int
    document: bytes


TABLES: dict[type, Table] = {
    LeaseRow: Table(
        "leases", METADATA,
        blob("id", key=True), words("provider"), words("ledger"), words("state"), blob("envelope"), blob("offer"),
        blob("record"), blob("order"), blob("hold"), blob("voucher"), number("cap"), number("window"),
        number("expires_ms"), number("hold_expires_ms"), number("created_ms"), number("captured"), number("released"),
        words("distrust"),
    ),
    JobRow: Table(
        "jobs", METADATA,
        blob("id", key=True), blob("lease", key=True), blob("document"), words("state"), blob("header"),
        blob("body"), blob("acceptance"), number("upfront"), number("increment"), number("count"),
        number("created_ms"), blob("ended"), words("note"), words("prompt"), truth("prepaid"),
    ),
    BodyRow: Table(
        "bodies", METADATA, blob("lease", key=True), blob("job", key=True), blob("plain"), blob("sealed")
    ),
    EvidenceRow: Table(
        "evidence", METADATA,
        blob("lease", key=True), blob("job", key=True), words("what"), blob("document"), blob("cipher"),
    ),
    NonceRow: Table("nonces", METADATA, blob("lease", key=True), blob("job", key=True), blob("nonce")),
    AuditRow: Table(
        "audits", METADATA,
        blob("lease", key=True), blob("job", key=True), number("picture", key=True), words("verdict"),
        number("made_ms"), blob("report"), blob("file"),
    ),
    BanRow: Table("bans", METADATA, words("did", key=True), words("why"), number("since_ms")),
    PairRow: Table(
        "pairs", METADATA, words("did", key=True), number("crime", key=True), blob("one"), blob("other")
    ),
    PeerRow: Table("peers", METADATA, words("address", key=True), words("did"), number("added_ms")),
    SequenceRow: Table(
        "sequences", METADATA, words("did", key=True), words("kind", key=True), number("sequence"), blob("document")
    ),
}  # fmt: skip
TABLES[JobDue] = TABLES[JobRow]
TABLES[JobKey] = TABLES[JobRow]
TABLES[EvidenceNote] = TABLES[EvidenceRow]
TABLES |= deliveries.TABLES | sequels.TABLES | reservations.TABLES | batches.TABLES


def open_wallet(path: Path | None, fault: Fault = no_fault) -> RowStore:
    """Open the wallet at `path` (None: in memory). Raises LocalError for a damaged file."""
    return wallet_on(open_database(path, MIGRATIONS), fault)


def wallet_on(database: Database, fault: Fault = no_fault) -> RowStore:
    """The wallet in a database that is open already."""
    return RowStore(database, TABLES, fault)
