"""From what is wanted to a job on disk. Rule: priced, sealed and affordable before anybody hears of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from gpufair.client.wallet import sequels
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.sequels import Before
from gpufair.client.wallet.store import BodyRow, JobDue, JobRow, NonceRow
from gpufair.protocol import auditing, limits, matching, sealing, wire
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import JOB, LIVE, JobEvent, JobState
from gpufair.protocol.messages import JobBody, JobHeader, NodeRecord, Spec
from gpufair.protocol.pricing import Quote, pieces, quote


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job asks for beside the picture: how long it may take, how much memory, what it shows on its way."""

    deadline_ms: int
    memory_bytes: int = 0
    preview_every: int = 0
    checkpoint_every: int = 0
    """Steps after which the state so far is bought, at the latest; 0: where the window demands it."""


def write_down(
    desk: Desk,
    rows: Rows,
    account: Account,
    spec: Spec,
    body: JobBody,
    terms: Terms,
    *,
    job: bytes = b"",
    before: Before | None = None,
) -> tuple[Signed[JobHeader], Quote]:
    """A new job in the wallet: its signed header and its price. Raises LocalError if the lease is over or can't pay.

    `before` is what it goes on with, which is over in the same transaction. `job` is its id; else it keeps that of the
    one before, where this lease has none of that id yet, or draws one.
    """
    lease = account.lease
    price = _affordable(account, spec, terms)
    job = job or _inherited(rows, lease.id, before) or desk.random.bytes(16)
    record = from_bytes(lease.record, NodeRecord).doc
    plain, nonce = wire.encode(body), desk.random.bytes(limits.KEY_BYTES)
    sealed = sealing.seal_plain(plain, record.sealing_key, lease=lease.id, job=job)
    header = desk.sign(
        JobHeader(
            head=desk.head(lease.provider, parent=lease.id), lease=lease.id, job=job, spec=spec,
            worker_image=account.bid.worker_image, body_sha256=hashlib.sha256(sealed).digest(),
            audit_commitment=auditing.commitment(nonce), deadline_ms=terms.deadline_ms,
            memory_bytes=terms.memory_bytes, preview_every=terms.preview_every,
            checkpoint=before.checkpoint if before is not None else b"", body_length=len(sealed),
            plain_sha256=hashlib.sha256(plain).digest(), checkpoint_every=terms.checkpoint_every,
        )
    )  # fmt: skip
    rows.insert(
        JobRow(
            id=job, lease=lease.id, document=header.id, state=JOB.after(JobState.DRAFT, JobEvent.PLACE),
            header=header.bytes, body=wire.encode(replace(body, inputs=())), acceptance=b"", upfront=0,
            increment=price.increment, count=price.count, created_ms=desk.now_ms(), ended=b"", note="",
            prompt=body.prompt, prepaid=False,
        )
    )  # fmt: skip
    rows.insert(NonceRow(lease.id, job, nonce))
    rows.insert(BodyRow(lease.id, job, plain, sealed))
    if before is not None:
        _go_on(rows, lease.id, job, price.count, before)
    return header, price


def _go_on(rows: Rows, lease: bytes, job: bytes, count: int, before: Before) -> None:
    """The job goes on with what another one has left: that one is over, whatever its provider still says.

    Raises LocalError if that went on elsewhere meanwhile: two processes may take up the same job.
    """
    wanted = range(before.first, before.first + count)
    for one in sequels.of(rows, before.lease, before.job):
        other = rows.get(JobDue, lease=one.lease, id=one.job)
        if other is not None and one.first < wanted.stop and wanted.start < one.first + other.count:
            raise LocalError(Fault.CONFLICT, "what is left of the job is ordered already", hint="see: gpufair history")
    sequels.begin(rows, lease, job, before)
    row = rows.get(JobRow, lease=before.lease, id=before.job)
    if row is not None and JOB.allows(JobState(row.state), JobEvent.STOP):
        stopped = JOB.after(JobState(row.state), JobEvent.STOP)
        note = row.note or "given up: it goes on elsewhere"
        rows.change(JobRow, {"lease": row.lease, "id": row.id}, state=stopped, note=note)


def _inherited(rows: Rows, lease: bytes, before: Before | None) -> bytes:
    """The id that a job is known by already, if it is still free under its new lease (ADR 22)."""
    if before is None or rows.get(JobDue, lease=lease, id=before.job) is not None:
        return b""
    return before.job


def _affordable(account: Account, spec: Spec, terms: Terms) -> Quote:
    """The job's price. Raises LocalError if it can't be ordered under the lease."""
    lease, sheet = account.lease, account.bid.sheet
    price = quote(spec, sheet, first=account.first())
    if lease.state not in LIVE or lease.distrust:
        raise LocalError(Fault.CONFLICT, f"the lease is {lease.state}: {lease.distrust or 'it takes no jobs'}")
    if account.committed + matching.with_spare(price, account.spare) > lease.cap:
        left = lease.cap - account.committed - account.spare
        raise LocalError(Fault.INSUFFICIENT_FUNDS, f"the job costs {price.total}, the lease has {left} left")
    if not pieces(spec, sheet, lease.window, terms.checkpoint_every):
        what = f"no step of the job fits the lease's window of {lease.window}"
        raise LocalError(Fault.INSUFFICIENT_FUNDS, what, hint="take a lease with a larger window")
    return price
