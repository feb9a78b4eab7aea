"""How a lease ends for the buyer. Rule: the ledger's every figure is checked against our own vouchers and its keys."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from gpufair.client.session import events as ev
from gpufair.client.session.purse import Purse
from gpufair.client.session.turn import Turn
from gpufair.client.wallet import evidence
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.deliveries import DeliveryKey
from gpufair.client.wallet.store import BodyRow, JobRow, LeaseRow
from gpufair.protocol import limits, payment
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.lifecycle import JOB, LEASE, JobEvent, JobState, LeaseEvent, LeaseState
from gpufair.protocol.messages import Bid, HoldOrder, HoldState

_CLOCKS_MS = 2 * limits.SKEW_MS
"""How far a ledger's clock may be behind ours, and how long after its expiry it still takes an order."""


def take(rows: Rows, purse: Purse, signed: Signed[HoldState], keys: tuple[bytes, ...]) -> Turn:
    """Take the ledger's word on a hold: keys that the provider showed only there, payments, the end."""
    state, lease = signed.doc, purse.row(rows)
    if signed.issuer != lease.ledger or state.lease != lease.id:
        raise PeerError(Fault.BAD_SIGNATURE, "the hold's state is not from the lease's ledger")
    turn = _open_deliveries(rows, purse, keys)
    lease = purse.row(rows)
    if lease.state == LeaseState.SETTLED or state.captured < lease.captured:
        return turn  # an older answer than one that we took
    why = _lie(state, lease, payment.worth(Account.load(rows, lease).signed, keys))
    if why:
        lease = replace(lease, distrust=why)
        evidence.keep(rows, lease.id, why, signed)
        turn.events.append(ev.Cheated(b"", why))
    captured = min(state.captured, lease.cap)
    lease = replace(lease, captured=captured, released=min(state.released, lease.cap - captured))
    if state.closed:
        lease = _settle(rows, lease)
    rows.save(lease)
    return turn


def expire(rows: Rows, lease: LeaseRow, now_ms: int, *, unknown: bool) -> bool:
    """End a lease that never got its hold, once it can get none any more; whether this did.

    `unknown`: its ledger says that it has no such hold. Even where it says nothing the wait has an end: what no voucher
    promises nobody can take, and the hold, if there was one, is over by then.
    """
    if lease.hold or not LEASE.allows(LeaseState(lease.state), LeaseEvent.EXPIRE):
        return False
    if not lease.order:
        ends_ms = from_bytes(lease.envelope, Bid).doc.accept_by_ms
    else:
        ends_ms = from_bytes(lease.order, HoldOrder).doc.head.expires_at_ms if unknown else lease.hold_expires_ms
    if now_ms <= ends_ms + _CLOCKS_MS:
        return False
    rows.change(LeaseRow, {"id": lease.id}, state=LEASE.after(LeaseState(lease.state), LeaseEvent.EXPIRE))
    return True


def _lie(state: HoldState, lease: LeaseRow, allowed: int) -> str:
    """What cannot be true of a ledger's answer; its signature under it is the evidence."""
    if state.captured > allowed:
        return f"the ledger says it paid {state.captured} where our vouchers and keys allow {allowed}"
    if state.amount != lease.cap or state.captured + state.released > state.amount:
        return f"the ledger's figures for the hold of {lease.cap} do not add up"
    if state.closed and state.captured + state.released != state.amount:
        return f"the ledger closed the hold of {state.amount} and gave back {state.released} after {state.captured}"
    return ""


def _open_deliveries(rows: Rows, purse: Purse, keys: tuple[bytes, ...]) -> Turn:
    turn, by_lock = Turn(), {hashlib.sha256(key).digest(): key for key in keys}
    for delivery in rows.all(DeliveryKey, lease=purse.lease):
        if delivery.locked and not delivery.key and delivery.hashlock in by_lock:
            turn += purse.use_key(rows, delivery, by_lock[delivery.hashlock])
    return turn


def _settle(rows: Rows, lease: LeaseRow) -> LeaseRow:
    for event in (LeaseEvent.CLOSE, LeaseEvent.SETTLE, LeaseEvent.EXPIRE):  # the last: we never had the hold's document
        if LEASE.allows(LeaseState(lease.state), event):
            lease = replace(lease, state=LEASE.after(LeaseState(lease.state), event))
    for job in rows.all(JobRow, lease=lease.id):
        if JOB.allows(JobState(job.state), JobEvent.EXPIRE):
            after = JOB.after(JobState(job.state), JobEvent.EXPIRE)
            rows.save(replace(job, state=after, note=job.note or "the lease was settled before it was done"))
    rows.change(BodyRow, {"lease": lease.id}, sealed=b"")  # nobody is sent it any more
    return lease
