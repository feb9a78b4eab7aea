"""What the wallet knows, for people. Rule: read only; nothing here asks anybody or changes anything.

Pictures and ciphertexts are megabytes: they stay on disk until `png` asks for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gpufair.client.wallet import budget, sequels, works
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.batches import TryRow
from gpufair.client.wallet.deliveries import CheckpointRow, DeliveryKey, PictureRow, PlainRow
from gpufair.client.wallet.purchase import Checkpoint, Goods, Picture, Purchase, Standing
from gpufair.client.wallet.sequels import SequelRow
from gpufair.client.wallet.store import EvidenceNote, JobDue, JobKey, JobRow, LeaseRow
from gpufair.protocol import limits, wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, document_id, from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.lifecycle import JOB, JobState, LeaseState
from gpufair.protocol.messages import (
    Bid,
    Envelope,
    JobHeader,
    LedgerRef,
    NodeRecord,
    Offer,
    Receipt,
)
from gpufair.protocol.pricing import quote

_PREFIX_MIN = 4
_RESUMED_MS = limits.LEASE_MAX_MS
"""How old a job may be that is taken up again: by then its first lease is over, whatever it was."""
_GOING = tuple(state for state in JobState if not JOB.is_terminal(state))
_RESUMABLE = (*_GOING, JobState.STOPPED)
ALIVE = (LeaseState.AGREED, LeaseState.FUNDED, LeaseState.OPEN)


def standing(store: RowStore, lease: bytes, job: bytes) -> Standing:
    """How far a job is. Raises LocalError if the wallet has none."""
    with store.read() as rows:
        due = rows.get(JobDue, lease=lease, id=job)
        if due is None:
            raise LocalError(Fault.UNKNOWN, "the wallet has no such job")
        came = rows.all(DeliveryKey, lease=lease, job=job)
        missing = any(one.locked and not one.key for one in came)
        return Standing(due.state, lease_row(rows, lease).distrust, all(one.locked for one in came), missing)


def read(rows: Rows, job: JobRow) -> Purchase:
    """A job with its lease, deliveries and money, and with those of the jobs that went on with it."""
    lease = lease_row(rows, job.lease)
    pictures = [
        Picture(one.picture, one.size, one.receipt, one.amount, one.locked, one.keyed, lease.id, job.id, one.picture)
        for one in rows.all(PictureRow, order="picture", lease=lease.id, job=job.id)
    ]
    checkpoints = [
        Checkpoint(
            one.picture, one.size, one.receipt, one.amount, one.locked, one.keyed, lease.id, job.id, one.picture,
            one.step,
        )
        for one in rows.all(CheckpointRow, lease=lease.id, job=job.id)
    ]  # fmt: skip
    came = (*pictures, *checkpoints)
    evidence = rows.all(EvidenceNote, order="job", lease=lease.id, job=(b"", job.id))
    proofs = [one.document for one in evidence] + [one.receipt for one in came if one.is_false]
    ids = tuple(document_id(wire.decode(Envelope, proof)) for proof in proofs)
    spent, parts = _spent(rows, lease, job, came), list[Purchase]()
    for one in sequels.of(rows, lease.id, job.id):
        part = read(rows, _job_row(rows, one.lease, one.job))
        parts.append(part)
        pictures += [replace(picture, index=one.first + picture.index) for picture in part.pictures]
        checkpoints += [replace(state, index=one.first + state.index) for state in part.checkpoints]
        spent, ids = spent + part.spent, ids + part.proofs
    checkpoints.sort(key=lambda one: (one.index, one.step))
    return Purchase(job, lease, spent, _one_of_each(pictures), ids, tuple(checkpoints), tuple(parts))


def _one_of_each(pictures: Iterable[Picture]) -> tuple[Picture, ...]:
    """Of what came twice for a picture, the one that is open; else the first."""
    found: dict[int, Picture] = {}
    for one in pictures:
        known = found.get(one.index)
        found[one.index] = one if known is None or (one.is_open and not known.is_open) else known
    return tuple(found[index] for index in sorted(found))


def png(store: RowStore, picture: Picture) -> bytes:
    """An open picture itself, without its receipt. Raises LocalError if the wallet has it no more."""
    with store.read() as rows:
        row = rows.get(PlainRow, lease=picture.lease, job=picture.job, picture=picture.place, step=0)
        if row is None or not row.plain:
            raise LocalError(Fault.UNKNOWN, f"the wallet has no picture {picture.index} of this job")
        return row.plain


def _spent(rows: Rows, lease: LeaseRow, job: JobRow, came: Iterable[Goods]) -> int:
    settled = budget.is_closed(lease)
    if rows.summary(JobDue, "count", lease=lease.id).count == 1:
        return lease.captured if settled else Account.load(rows, lease).spent
    return job.upfront + sum(one.amount for one in came if (one.is_open if settled else one.locked))


def history(store: RowStore, limit: int) -> list[Purchase]:
    """The newest jobs, newest first; what went on elsewhere is part of the job that it was ordered as."""
    with store.read() as rows:
        later = {(one.lease, one.job) for one in rows.all(SequelRow)}
        newest = [key for key in rows.all(JobKey, order="created_ms")[::-1] if (key.lease, key.id) not in later]
        return [read(rows, _job_row(rows, key.lease, key.id)) for key in newest[:limit]]


def resumable(store: RowStore, now_ms: int) -> list[Purchase]:
    """The jobs that may still get whole, the oldest first.

    They are under way as far as the wallet knows, or stopped within a day; those of a batch are the batch's.
    """
    with store.read() as rows:
        others = {(one.lease, one.job) for one in rows.all(SequelRow)}
        others |= {(one.lease, one.job) for one in rows.all(TryRow)}
        keys = [key for key in rows.all(JobKey, order="created_ms") if (key.lease, key.id) not in others]
        works = [read(rows, _job_row(rows, key.lease, key.id)) for key in keys if key.created_ms > now_ms - _RESUMED_MS]
        return [work for work in works if not work.is_whole and work.state in _RESUMABLE]


def find(store: RowStore, text: str) -> Purchase:
    """The job whose id begins with `text` (hex). Raises LocalError if there is none, or more than one."""
    wanted = text.strip().lower()
    hint = "`gpufair history` lists them"
    if len(wanted) < _PREFIX_MIN or any(c not in "0123456789abcdef" for c in wanted):
        raise LocalError(Fault.MALFORMED, f"{text!r} is not a job's id, nor {_PREFIX_MIN} digits of one", hint=hint)
    with store.read() as rows:
        fits = {sequels.origin(rows, job.lease, job.id) for job in rows.all(JobKey) if job.id.hex().startswith(wanted)}
        if not fits:
            raise LocalError(Fault.UNKNOWN, f"the wallet has no job {text}", hint=hint)
        if len(fits) > 1:
            raise LocalError(Fault.CONFLICT, f"{len(fits)} jobs begin with {text}", hint="give more digits")
        return read(rows, _job_row(rows, *fits.pop()))


def by_id(store: RowStore, lease: bytes, job: bytes) -> Purchase:
    """The job with this id. Raises LocalError if the wallet has none."""
    with store.read() as rows:
        row = rows.get(JobRow, lease=lease, id=job)
        if row is None:
            raise LocalError(Fault.UNKNOWN, "the wallet has no such job")
        return read(rows, row)


def _job_row(rows: Rows, lease: bytes, job: bytes) -> JobRow:
    row = rows.get(JobRow, id=job, lease=lease)
    if row is None:
        raise LocalError(Fault.INTERNAL, "a job is gone from the wallet")
    return row


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


def unneeded(store: RowStore, now_ms: int, *, young_ms: int) -> list[LeaseRow]:
    """Leases that money may be held for and that nobody needs any more.

    Another process may be about to use one: a lease without a job is left alone while it is younger than `young_ms`,
    and one with room for more jobs than it has had until its provider would close it for idleness.
    """
    with store.read() as rows:
        alive = [lease for lease in rows.all(LeaseRow, order="created_ms", state=ALIVE) if budget.is_open(lease)]
        return [lease for lease in alive if not _is_needed(rows, lease, now_ms, young_ms)]


def is_shared(rows: Rows, lease: LeaseRow) -> bool:
    """Whether a lease was made for more than its first job."""
    job = rows.get(JobRow, lease=lease.id)
    if job is None or rows.summary(JobDue, "count", lease=lease.id).count > 1:
        return job is not None
    spec = from_bytes(job.header, JobHeader).doc.spec
    return lease.cap > quote(spec, from_bytes(lease.envelope, Bid).doc.sheet, first=True).total


def _is_needed(rows: Rows, lease: LeaseRow, now_ms: int, young_ms: int) -> bool:
    if works.is_over(rows, lease.id):
        return False
    if not rows.summary(JobDue, "count", lease=lease.id).count:
        return now_ms < lease.created_ms + young_ms
    if rows.all(JobDue, lease=lease.id, state=_GOING):
        return True
    idle_ms = from_bytes(lease.envelope, Bid).doc.idle_limit_ms
    newest = rows.summary(JobRow, "created_ms", lease=lease.id).highest
    return is_shared(rows, lease) and now_ms < newest + idle_ms


def ledgers_used(rows: Rows) -> set[str]:
    """The dids of the ledgers that have held money of ours and did not lie about it."""
    return {lease.ledger for lease in rows.all(LeaseRow) if lease.hold and not lease.distrust}


def ledger_of(lease: LeaseRow) -> LedgerRef:
    """Where the lease's ledger is, as its offer said."""
    ledgers = from_bytes(lease.offer, Offer).doc.ledgers
    ref = next((one for one in ledgers if one.did == lease.ledger), None)
    if ref is None:
        raise LocalError(Fault.UNKNOWN, "the lease's offer does not say where its ledger is")
    return ref


def receipt_of(picture: Picture) -> Signed[Receipt]:
    """A picture's receipt, as it was signed."""
    return from_bytes(picture.receipt, Receipt)


def provider_of(lease: LeaseRow) -> NodeRecord:
    """The node record that the lease names."""
    return from_bytes(lease.record, NodeRecord).doc
