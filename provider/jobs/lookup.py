"""Rows by their ids. Rule: what a peer names and we don't have is the peer's mistake, said with what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.lifecycle import LEASE, LeaseEvent, LeaseState
from gpufair.protocol.messages import Bid, JobHeader, Precision, Spec
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow, LeaseRow
from gpufair.provider.jobs.turns import Turn
from gpufair.provider.workers.places import Wish


def find(rows: Rows, lease: bytes) -> LeaseRow:
    """The row of a lease. Raises PeerError for one that we don't know."""
    row = rows.get(LeaseRow, id=lease)
    if row is None:
        raise PeerError(Fault.UNKNOWN, f"no lease {lease.hex()[:12]}", hint="place a bid first")
    return row


def after(lease: LeaseRow, event: LeaseEvent) -> LeaseRow:
    """The row of a lease to which something has happened. Raises IllegalEventError if it can't."""
    return replace(lease, state=LEASE.after(LeaseState(lease.state), event))


def find_attempt(rows: Rows, lease: bytes, job: bytes) -> AttemptRow:
    """The attempt of a job. Raises PeerError where there is none."""
    attempt = rows.get(AttemptRow, lease=lease, job=job)
    if attempt is None:
        raise PeerError(Fault.UNKNOWN, f"no job {job.hex()[:12]} under this lease", hint="send its header first")
    return attempt


def find_delivery(rows: Rows, lease: bytes, job: bytes, picture: int, step: int) -> DeliveryRow:
    """A picture (`step` 0) or a checkpoint of it. Raises PeerError where there is none, or none any more."""
    row = rows.get(DeliveryRow, lease=lease, job=job, picture=picture, step=step)
    if row is None or not row.cipher:
        raise PeerError(Fault.UNKNOWN, "no such delivery is kept", hint="it goes when its lease's hold closes")
    return row


def find_turn(rows: Rows, attempt: bytes, lasts_ms: Callable[[Spec], int]) -> Turn:
    """An attempt's place in the queue, by what its lease pays. Raises PeerError where there is none.

    `lasts_ms` says about how long a job takes; 0 where nobody knows.
    """
    row = rows.get(AttemptRow, id=attempt)
    if row is None:
        raise PeerError(Fault.UNKNOWN, f"no attempt {attempt.hex()[:12]}")
    spec = from_bytes(row.header, JobHeader).doc.spec
    lease = find(rows, row.lease)
    bid = from_bytes(lease.envelope, Bid).doc
    return Turn(
        attempt, row.lease, row.job, Wish(spec.model, shares=spec.precision is Precision.SINGLE), row.accepted_ms,
        rate=bid.sheet.per_step_megapixel, steps=spec.count * (spec.steps - spec.done),
        interruptible=lease.interruptible, lasts_ms=lasts_ms(spec),
    )  # fmt: skip
