"""Why a job is not taken under its lease. Rule: every reason is given, with its numbers; none means welcome.

What the owner's own limits say comes from `Admission`; here is what the lease says, its work so far and its money.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufair.protocol import inputs, limits, matching, pricing
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.lifecycle import LIVE, AttemptState
from gpufair.protocol.messages import Bid, JobHeader, Reason, ReasonCode
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.capacity import WAITING, waiting
from gpufair.provider.jobs.pieces import pieces_end
from gpufair.provider.jobs.store import AttemptDue, DeliveryDue

Admission = Callable[[JobHeader, int], tuple[Reason, ...]]
"""What the owner's own limits say of a job: memory, models, pause, how many others wait. Empty means welcome."""


def objections(
    rows: Rows, account: Account, header: JobHeader, admission: Admission, *, first: bool, carries: bool
) -> tuple[Reason, ...]:
    """Everything that speaks against a job.

    `first`: it would be charged the cold load. `carries`: its pictures can be taken up again from their states.
    """
    reasons = [*_of_the_lease(rows, account), *_of_its_terms(header, account.bid)]
    reasons += admission(header, _ahead(rows, account))
    if not reasons:
        committed, spare = account.committed(rows), account.spare
        reasons += matching.affordable(header.spec, account.bid, committed=committed, spare=spare, first=first)
        reasons += _of_its_pieces(header, account.bid, carries=carries)
    return tuple(reasons[: limits.REASONS_MAX])


def _ahead(rows: Rows, account: Account) -> int:
    """Jobs that wait before one more of a lease; where a worker is held for it, its own alone."""
    if account.is_reserved:
        return sum(one.state in WAITING for one in account.attempts)
    return waiting(rows, on_demand=not account.lease.interruptible)


def lateness(account: Account, *, now_ms: int, since_ms: int, patience_ms: int) -> Reason | None:
    """Why nothing more is made under a lease: a picture has waited too long for its payment (rule 21).

    Nobody could pay before `since_ms`, when the node started.
    """
    waited = max((now_ms - max(d.made_ms, since_ms) for d in account.unpaid), default=0)
    return None if waited < patience_ms else Reason(ReasonCode.UNPAID, waited, patience_ms, "ms unpaid")


def _of_the_lease(rows: Rows, account: Account) -> list[Reason]:
    lease, reasons = account.lease, []
    if lease.state not in LIVE:
        reasons.append(Reason(ReasonCode.LEASE_CLOSED, detail=lease.state))
    if (going := len(account.attempts)) >= limits.JOBS_IN_FLIGHT_MAX:
        reasons.append(Reason(ReasonCode.JOBS_IN_FLIGHT, going + 1, limits.JOBS_IN_FLIGHT_MAX, "jobs"))
    if account.jobs >= limits.JOBS_PER_LEASE_MAX:
        reasons.append(Reason(ReasonCode.LIMIT, account.jobs + 1, limits.JOBS_PER_LEASE_MAX, "jobs of a lease"))
    if (unsold := _cancelled_for_nothing(rows, lease.id)) >= (most := limits.CANCELS_PER_LEASE_MAX):
        what = "cancelled jobs of a lease that bought nothing"
        reasons.append(Reason(ReasonCode.LIMIT, unsold + 1, most, what))
    return reasons


def _cancelled_for_nothing(rows: Rows, lease: bytes) -> int:
    """Jobs that were cancelled before there was anything to sell; what was sold has to be paid before more is done."""
    cancelled = tuple(one.id for one in rows.all(AttemptDue, lease=lease, state=AttemptState.CANCELLED))
    if len(cancelled) < limits.CANCELS_PER_LEASE_MAX:
        return len(cancelled)
    return len(cancelled) - len({one.attempt for one in rows.all(DeliveryDue, lease=lease, attempt=cancelled)})


def _of_its_terms(header: JobHeader, bid: Bid) -> list[Reason]:
    reasons = []
    if header.spec.model != bid.sheet.model:
        reasons.append(Reason(ReasonCode.MODEL_NOT_OFFERED, detail="the lease is for another model"))
    if header.worker_image != bid.worker_image:
        reasons.append(Reason(ReasonCode.IMAGE_NOT_OFFERED, detail="the lease is for another worker image"))
    if header.body_length > (most := inputs.body_max(header.spec)):
        reasons.append(Reason(ReasonCode.LIMIT, header.body_length, most, "bytes of the sealed body"))
    if bool(header.checkpoint) != bool(header.spec.done):
        detail = "a job goes on from a checkpoint just if some of its steps are done"
        reasons.append(Reason(ReasonCode.CHECKPOINT_WRONG, header.spec.done, 0, "steps done", detail))
    return reasons


def _of_its_pieces(header: JobHeader, bid: Bid, *, carries: bool) -> list[Reason]:
    """A model whose pictures can't be taken up again sells them whole, and from their first step on."""
    spec = header.spec
    if not carries and spec.done:
        detail = "this model's pictures can't be taken up again"
        return [Reason(ReasonCode.CHECKPOINT_WRONG, spec.done, 0, "steps done", detail)]
    if pieces_end(header, bid.sheet, bid.window, carries=carries):
        return []
    smallest = pricing.smallest_window(spec, bid.sheet)
    wanted = smallest if carries else pricing.piece(spec, bid.sheet, spec.done, spec.steps, whole=True)
    detail = "" if carries else "this model's pictures can't be sold in pieces"
    return [Reason(ReasonCode.WINDOW_TOO_SMALL, wanted, bid.window, "micro-credits", detail)]
