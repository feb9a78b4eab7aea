"""What is left of a piece of work. Rule: what was bought is never ordered again, and nothing is ordered twice.

Reads only. A picture that has a bought checkpoint goes on from the newest one; the others begin anew. Every one keeps
the seed that it had as a picture of its job, so that it becomes the picture that was wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpufair.client.wallet import sequels
from gpufair.client.wallet.deliveries import CheckpointRow, PictureRow, PlainRow
from gpufair.client.wallet.sequels import Before
from gpufair.client.wallet.store import BodyRow, JobRow
from gpufair.protocol import wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import Input, InputKind, JobBody, JobHeader, Receipt, Spec

_SEED_MAX = 2**63 - 1
"""The largest seed that a body can name; a picture's own may be larger by its index, and can't be ordered alone."""


@dataclass(frozen=True, slots=True)
class Rest:
    """A job that brings some of what is left: pictures that begin anew, or one that goes on from a checkpoint."""

    before: Before
    spec: Spec
    body: JobBody
    preview_every: int
    checkpoint_every: int
    profile: bytes
    """The runtime profile that its checkpoint was made on: within it, every bit stays the same. Empty: it has none."""


def of(store: RowStore, lease: bytes, job: bytes, *, doubtful: bool = False) -> tuple[Rest, ...]:
    """What is left of a job and of all that already went on with it, in order, for whoever waits no longer for what
    is under way.

    With `doubtful`, pictures count as left that are signed for and whose key has not come. Raises LocalError if the
    wallet has no such job.
    """
    with store.read() as rows:
        rests = _of(rows, lease, job, doubtful=doubtful)
        return tuple(sorted(rests, key=lambda rest: sequels.offset(rows, rest.before)))


def _of(rows: Rows, lease: bytes, job: bytes, *, doubtful: bool) -> list[Rest]:
    row, body = rows.get(JobRow, lease=lease, id=job), rows.get(BodyRow, lease=lease, job=job)
    if row is None or body is None:
        raise LocalError(Fault.UNKNOWN, "the wallet has no such job")
    later = sequels.of(rows, lease, job)
    gone = {picture for one in later for picture in _covered(rows, one)}
    have = {
        one.picture
        for one in rows.all(PictureRow, lease=lease, job=job)
        if one.size or (one.locked and not one.keyed and not doubtful)
    }
    missing = [n for n in range(row.count) if n not in have | gone]
    rests = _jobs(rows, row, wire.decode(JobBody, body.plain), missing)
    return rests + [rest for one in later for rest in _of(rows, one.lease, one.job, doubtful=doubtful)]


def _covered(rows: Rows, one: sequels.SequelRow) -> range:
    row = rows.get(JobRow, lease=one.lease, id=one.job)
    return range(one.first, one.first + (row.count if row is not None else 0))


def _jobs(rows: Rows, row: JobRow, body: JobBody, missing: list[int]) -> list[Rest]:
    """Jobs for these pictures: one for each that has a state to go on from, one for all in a row that have none."""
    header = from_bytes(row.header, JobHeader).doc
    jobs: list[Rest] = []
    for picture in missing:
        if body.seed + picture > _SEED_MAX:
            continue
        own = replace(body, seed=body.seed + picture)
        rest = Rest(
            before=Before(row.lease, row.id, picture, header.checkpoint), spec=replace(header.spec, count=1), body=own,
            preview_every=header.preview_every, checkpoint_every=header.checkpoint_every, profile=b"",
        )  # fmt: skip
        newest = max(
            (one for one in rows.all(CheckpointRow, lease=row.lease, job=row.id, picture=picture) if one.size),
            key=lambda one: one.step,
            default=None,
        )
        if newest is not None:
            jobs.append(_from_checkpoint(rows, rest, newest))
        elif jobs and not jobs[-1].spec.done and jobs[-1].before.first + jobs[-1].spec.count == picture:
            jobs[-1] = replace(jobs[-1], spec=replace(jobs[-1].spec, count=jobs[-1].spec.count + 1))
        else:
            jobs.append(rest)
    return jobs


def _from_checkpoint(rows: Rows, rest: Rest, checkpoint: CheckpointRow) -> Rest:
    plain = rows.get(
        PlainRow, lease=checkpoint.lease, job=checkpoint.job, picture=checkpoint.picture, step=checkpoint.step
    )
    state = Input(InputKind.STATE, plain.plain if plain is not None else b"")
    inputs = tuple(one for one in rest.body.inputs if one.kind is not InputKind.STATE)
    receipt = from_bytes(checkpoint.receipt, Receipt)
    return replace(
        rest,
        before=replace(rest.before, checkpoint=receipt.id),
        spec=replace(rest.spec, done=checkpoint.step),
        body=replace(rest.body, inputs=(*inputs, state)),
        profile=receipt.doc.profile,
    )
