"""What the wallet knows, for people. Rule: read only; nothing here asks anybody or changes anything."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.client.wallet import budget
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.store import DeliveryRow, JobRow, LeaseRow
from gpufair.protocol import wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.lifecycle import JOB, JobState, LeaseState
from gpufair.protocol.messages import (
    Envelope,
    JobBody,
    JobEnded,
    JobHeader,
    LedgerRef,
    NodeRecord,
    Offer,
    Reason,
    Receipt,
    Spec,
)

_PREFIX_MIN = 4
ALIVE = (LeaseState.AGREED, LeaseState.FUNDED, LeaseState.OPEN)


@dataclass(frozen=True, slots=True)
class Picture:
    """One delivered picture. `png` is empty until its key is here; `receipt` is the envelope's wire bytes."""

    index: int
    png: bytes
    receipt: bytes
    amount: int
    locked: bool

    @property
    def claim(self) -> Receipt:
        """What the provider states about it."""
        return from_bytes(self.receipt, Receipt).doc


@dataclass(frozen=True, slots=True)
class Purchase:
    """A job with the lease that it was bought under."""

    job: JobRow
    lease: LeaseRow
    spent: int
    """What the lease's vouchers promise; once it is settled, what the ledger paid."""
    pictures: tuple[Picture, ...]

    @property
    def spec(self) -> Spec:
        """The job's public part."""
        return from_bytes(self.job.header, JobHeader).doc.spec

    @property
    def body(self) -> JobBody:
        """The job's secret part."""
        return wire.decode(JobBody, self.job.body)

    @property
    def opened(self) -> tuple[Picture, ...]:
        """The pictures that are ours."""
        return tuple(picture for picture in self.pictures if picture.png)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of the job itself."""
        return JOB.is_terminal(JobState(self.job.state))

    @property
    def is_settled(self) -> bool:
        """Whether the ledger has closed the hold."""
        return budget.is_closed(self.lease)

    @property
    def waits_for_key(self) -> bool:
        """Whether everything is delivered and locked, and only keys are missing."""
        return self.job.state == JobState.DELIVERED and all(p.locked for p in self.pictures)

    @property
    def offer(self) -> Offer:
        """The offer that the lease was made under."""
        return from_bytes(self.lease.offer, Offer).doc

    @property
    def model_name(self) -> str:
        """What the seller called the model."""
        return next((m.name for m in self.offer.models if m.digest == self.spec.model), self.spec.model.hex()[:12])

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why the provider ended the job, in its own signed words."""
        return from_bytes(self.job.ended, JobEnded).doc.reasons if self.job.ended else ()


def read(rows: Rows, job: JobRow) -> Purchase:
    """A job with its lease, deliveries and money."""
    lease = lease_row(rows, job.lease)
    pictures = tuple(
        Picture(d.picture, d.png, d.receipt, d.amount, d.locked)
        for d in rows.all(DeliveryRow, order="picture", lease=lease.id, job=job.id)
    )
    spent = lease.captured if budget.is_closed(lease) else Account.load(rows, lease).spent
    return Purchase(job, lease, spent, pictures)


def history(store: RowStore, limit: int) -> list[Purchase]:
    """The newest jobs, newest first."""
    with store.read() as rows:
        jobs = rows.all(JobRow, order="created_ms")[::-1][:limit]
        return [read(rows, job) for job in jobs]


def find(store: RowStore, text: str) -> Purchase:
    """The job whose id begins with `text` (hex). Raises LocalError if there is none, or more than one."""
    wanted = text.strip().lower()
    hint = "`gpufair history` lists them"
    if len(wanted) < _PREFIX_MIN or any(c not in "0123456789abcdef" for c in wanted):
        raise LocalError(Fault.MALFORMED, f"{text!r} is not a job's id, nor {_PREFIX_MIN} digits of one", hint=hint)
    with store.read() as rows:
        fits = [job for job in rows.all(JobRow) if job.id.hex().startswith(wanted)]
        if not fits:
            raise LocalError(Fault.UNKNOWN, f"the wallet has no job {text}", hint=hint)
        if len(fits) > 1:
            raise LocalError(Fault.CONFLICT, f"{len(fits)} jobs begin with {text}", hint="give more digits")
        return read(rows, fits[0])


def by_id(store: RowStore, lease: bytes, job: bytes) -> Purchase:
    """The job with this id. Raises LocalError if the wallet has none."""
    with store.read() as rows:
        row = rows.get(JobRow, lease=lease, id=job)
        if row is None:
            raise LocalError(Fault.UNKNOWN, "the wallet has no such job")
        return read(rows, row)


def lease_row(rows: Rows, lease: bytes) -> LeaseRow:
    """A lease. Raises LocalError if the wallet has none."""
    row = rows.get(LeaseRow, id=lease)
    if row is None:
        raise LocalError(Fault.UNKNOWN, "the wallet has no such lease")
    return row


def lease(store: RowStore, lease: bytes) -> LeaseRow:
    """A lease as it is now. Raises LocalError if the wallet has none."""
    with store.read() as rows:
        return lease_row(rows, lease)


def hold(store: RowStore, lease: bytes) -> Envelope:
    """The ledger's signed hold for a lease that has one."""
    with store.read() as rows:
        return wire.decode(Envelope, lease_row(rows, lease).hold)


def unneeded(store: RowStore, before_ms: int) -> list[LeaseRow]:
    """Leases that money may be held for and no job needs any more, or, if they are older than that, ever did."""
    with store.read() as rows:
        jobs: dict[bytes, list[bool]] = {}
        for job in rows.all(JobRow):
            jobs.setdefault(job.lease, []).append(JOB.is_terminal(JobState(job.state)))
        return [
            lease
            for lease in rows.all(LeaseRow, order="created_ms", state=ALIVE)
            if budget.is_open(lease) and all(jobs.get(lease.id, [lease.created_ms < before_ms]))
        ]


def ledger_of(lease: LeaseRow) -> LedgerRef:
    """Where the lease's ledger is, as its offer said."""
    ledgers = from_bytes(lease.offer, Offer).doc.ledgers
    ref = next((one for one in ledgers if one.did == lease.ledger), None)
    if ref is None:
        raise LocalError(Fault.UNKNOWN, "the lease's offer does not say where its ledger is")
    return ref


def provider_of(lease: LeaseRow) -> NodeRecord:
    """The node record that the lease names."""
    return from_bytes(lease.record, NodeRecord).doc
