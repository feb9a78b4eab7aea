"""Jobs that go on with what another one has left. Rule: who is gone on without gets no signature any more.

A job that stopped, or whose provider is lost, keeps its row for ever (ADR 22). What was left of it is ordered as other
rows, under other leases; these say of which pictures of which job they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData, Table

from gpufair.protocol.edge.columns import blob, number
from gpufair.protocol.edge.rows import Rows

METADATA = MetaData()


@dataclass(frozen=True, slots=True)
class SequelRow:
    """A job that draws the pictures of another one from `first` on."""

    lease: bytes
    job: bytes
    before_lease: bytes
    before_job: bytes
    first: int


@dataclass(frozen=True, slots=True)
class Before:
    """What a new job goes on with: the pictures of an earlier one from `first` on.

    `checkpoint` is the id of the receipt of the state that it begins from; empty: it begins from its first step.
    """

    lease: bytes
    job: bytes
    first: int
    checkpoint: bytes = b""


TABLES: dict[type, Table] = {
    SequelRow: Table(
        "sequels", METADATA,
        blob("lease", key=True), blob("job", key=True), blob("before_lease"), blob("before_job"), number("first"),
    ),
}  # fmt: skip


def begin(rows: Rows, lease: bytes, job: bytes, before: Before) -> None:
    """Write down that a job goes on with another one's work: from now on nothing is signed for that one."""
    rows.insert(SequelRow(lease, job, before.lease, before.job, before.first))


def of(rows: Rows, lease: bytes, job: bytes) -> list[SequelRow]:
    """The jobs that go on with what this one has left; none: it was not gone on without."""
    return rows.all(SequelRow, order="first", before_lease=lease, before_job=job)


def origin(rows: Rows, lease: bytes, job: bytes) -> tuple[bytes, bytes]:
    """Lease and id of the job that a piece of work was first ordered as."""
    while (row := rows.get(SequelRow, lease=lease, job=job)) is not None:
        lease, job = row.before_lease, row.before_job
    return lease, job


def offset(rows: Rows, before: Before) -> int:
    """Which picture of the work, as it was first ordered, is the first that a new job draws."""
    lease, job, first = before.lease, before.job, before.first
    while (row := rows.get(SequelRow, lease=lease, job=job)) is not None:
        lease, job, first = row.before_lease, row.before_job, first + row.first
    return first
