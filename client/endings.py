"""How a purchase ended, in words. Rule: what can be fetched is never called lost; every text says what to do next.

Pure: it reads what the wallet says and asks nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpufair.client.failures import CheatedError, DeclinedError, JobFailedError, PurchaseError, StoppedError
from gpufair.client.wallet import budget
from gpufair.client.wallet.purchase import Purchase
from gpufair.protocol import limits
from gpufair.protocol.errors import FairError
from gpufair.protocol.lifecycle import JobState
from gpufair.protocol.messages import Reason
from gpufair.protocol.units import show


def ended(purchase: Purchase) -> Purchase:
    """The purchase if every picture is here; else raises the PurchaseError that says why not."""
    if purchase.is_whole:
        return purchase
    raise failure(purchase)


def failure(purchase: Purchase) -> PurchaseError:
    """Why not every picture is here."""
    last, job, have = purchase.last, purchase.job, len(purchase.opened)
    if last.lease.distrust:
        hint = f"the wallet keeps the evidence: gpufair show {short(job.id)}"
        return CheatedError(last.lease.distrust, hint=hint, job=job.id)
    if last.job.state == JobState.FAILED and not last.job.acceptance:
        hint = "nothing was spent" if last is purchase else f"see: gpufair show {short(job.id)}"
        return DeclinedError(f"the provider declined the job: {last.job.note}", job=job.id, hint=hint)
    got = f"{have} of {job.count} pictures are here" if have else "no picture came"
    missing = sum(not picture.is_open for picture in purchase.pictures if picture.locked)
    if missing and not purchase.is_settled:
        what = f"the provider has not revealed {missing} of the keys; {got}"
        hint = f"it can't be paid without showing them to the ledger; ask later: gpufair fetch {short(job.id)}"
        return JobFailedError(what, hint=hint, job=job.id)
    if purchase.is_over or purchase.is_settled:
        why = last.job.note or "no reason given"
        what = f"the job ended as {last.job.state} ({why}); {got}, {show(purchase.spent)} spent"
        hint = "run it again, or see: gpufair offers"
        if last.job.state != JobState.CANCELLED:
            hint = f"others can finish it: gpufair fetch {short(job.id)} --go-on"
        return JobFailedError(what, reasons=last.reasons, job=job.id, hint=hint)
    return JobFailedError(f"the job is still {last.job.state}; {got}", hint=later(job.id), job=job.id)


def nowhere(why: PurchaseError, error: FairError) -> PurchaseError:
    """Why a job is not done, with why it could not go on elsewhere either."""
    why.hint = "; ".join(filter(None, (why.hint, f"it can't go on elsewhere: {error.what}")))
    return why


def stopped(purchase: Purchase) -> StoppedError:
    """What a job that its buyer stopped has brought and cost, and whether anything is left to do."""
    job, have = purchase.job, len(purchase.opened)
    what = f"stopped: {have} of {job.count} pictures are here, {show(purchase.spent)} spent"
    if purchase.is_settled:
        hint = "nothing more will be paid"
        hint += f"; the wallet has the pictures too: gpufair fetch {short(job.id)}" if have else ""
    elif purchase.is_over:
        hint = "the ledger has not settled it yet: gpufair balance looks again"
    else:
        hint = f"the provider has not confirmed it: gpufair cancel {short(job.id)}, or gpufair fetch {short(job.id)}"
    return StoppedError(what, hint=hint, job=job.id)


def next_command(purchase: Purchase) -> str:
    """What is left to do about a job: fetch it, have it settled, or nothing (empty)."""
    if not any(budget.is_open(lease) for lease in purchase.leases):
        return ""
    waits = any(one.locked and not one.is_open and not one.is_false for one in purchase.pictures)
    if waits or not purchase.is_over:
        return f"gpufair fetch {short(purchase.job.id)}"
    return "gpufair balance"


def later(job: bytes, left_ms: int = 0) -> str:
    """What to do about a job that goes on without us; `left_ms` is how long its lease still lasts."""
    until = f" within {left_ms // limits.MINUTE} minutes" if left_ms >= limits.MINUTE else " later"
    return f"nothing is lost; fetch it{until}: gpufair fetch {short(job)}"


def said(reasons: Sequence[Reason]) -> str:
    """Reasons on one line."""
    return "; ".join(map(str, reasons))


def short(job: bytes) -> str:
    """A job's id in as many digits as people type."""
    return job.hex()[:12]
