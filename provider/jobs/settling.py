"""What money moves on. Rule: nothing begins before its up-front lines are paid, with money that is for nothing else."""

from __future__ import annotations

from dataclasses import replace

from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.lifecycle import ATTEMPT, AttemptEvent, AttemptState
from gpufair.protocol.messages import Outcome
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.effects import Effect, Keep
from gpufair.provider.jobs.store import AttemptDue, AttemptRow, ReservationRow


def settle_attempts(rows: Rows, account: Account) -> list[bytes]:
    """Let attempts move on that the kept voucher pays: delivered ones are paid, accepted ones queued."""
    queued = []
    for attempt in account.attempts:
        if attempt.state == AttemptState.DELIVERED:
            if all(d.revealed for d in account.deliveries if d.attempt == attempt.id):
                _move(rows, attempt, AttemptEvent.PAY)
        elif attempt.state == AttemptState.ACCEPTED and account.prepaid(attempt.upfront):
            if not attempt.bodied:
                continue  # its body is still to come
            _move(rows, attempt, AttemptEvent.QUEUE)
            queued.append(attempt.id)
            account = account.with_queued(attempt)
    return queued


def settle_reservations(rows: Rows, account: Account) -> Account:
    """Let reservations begin that the kept voucher pays; the account with them, as the rows say by now."""
    for reservation in account.reservations:
        if not reservation.paid and account.prepaid(reservation.amount):
            paid = replace(reservation, paid=True)
            rows.save(paid)
            account = account.with_reserved(paid)
    return account


def keeping(account: Account) -> list[Effect]:
    """What follows for the workers from what an account has reserved."""
    return [Keep(account.lease.id, account.bid.sheet.model)] if account.is_reserved else []


def ended(attempt: AttemptDue, account: Account, outcome: Outcome) -> AttemptState:
    """The state of an attempt when its lease closes: paid if all of it was revealed, else stopped."""
    mine = [d for d in account.deliveries if d.attempt == attempt.id]
    state = AttemptState(attempt.state)
    if state == AttemptState.DELIVERED:
        paid = all(d.revealed for d in mine)
        return ATTEMPT.after(state, AttemptEvent.PAY if paid else AttemptEvent.EXPIRE)
    return ATTEMPT.after(state, AttemptEvent.CANCEL if outcome is Outcome.CANCELLED else AttemptEvent.EXPIRE)


def end_reservations(rows: Rows, lease: bytes) -> bool:
    """End what a lease that closes has reserved; whether there was anything."""
    return rows.change(ReservationRow, {"lease": lease, "over": False}, over=True) > 0


def _move(rows: Rows, attempt: AttemptDue, event: AttemptEvent) -> None:
    rows.change(AttemptRow, {"id": attempt.id}, state=ATTEMPT.after(AttemptState(attempt.state), event))
