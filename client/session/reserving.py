"""Having a worker held. Rule: seconds are paid before they begin, a slice at a time, and never more than the window.

Whoever takes the money and holds nothing is found out by the first job that waits: it had one slice for nothing.
"""

from __future__ import annotations

from dataclasses import replace

from gpufair.client.session import events as ev
from gpufair.client.session.purse import Purse
from gpufair.client.session.turn import Turn
from gpufair.client.wallet import evidence
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.reservations import ReservationDue, ReservationRow
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import BidClass, Decline, Document, Order, ReasonCode, Reserve, Reserved, ReserveEnded
from gpufair.protocol.pricing import reserved


class Reserving:
    """The held workers of one lease."""

    def __init__(self, desk: Desk, store: RowStore, purse: Purse) -> None:
        self._desk = desk
        self._store = store
        self._purse = purse

    def order(self, lasts_ms: int) -> Turn:
        """Have a worker held for so long, from the end of what is held already. Raises LocalError if that can't be."""
        with self._store.begin() as rows:
            account, now_ms = self._purse.account(rows), self._desk.now_ms()
            amount = reserved(account.bid.sheet, lasts_ms)
            _check(account, amount, now_ms)
            lease = account.lease
            order = self._desk.sign(Reserve(self._desk.head(lease.provider, parent=lease.id), lease.id, lasts_ms))
            rows.insert(
                ReservationRow(
                    lease=lease.id, request=order.doc.head.id, document=order.id, order=order.bytes, lasts_ms=lasts_ms,
                    amount=amount, paid=False, over=False, from_ms=0, until_ms=0, created_ms=now_ms, note="",
                )
            )  # fmt: skip
        return Turn([Order(order.envelope)], [ev.ReserveOrdered(order.doc.head.id, amount)])

    def resume(self, rows: Rows) -> list[Order]:
        """What to order again on a new stream: whatever has no answer yet, or may have ended meanwhile."""
        now_ms = self._desk.now_ms()
        going = rows.all(ReservationRow, order="created_ms", lease=self._purse.lease, over=False)
        return [
            Order(from_bytes(one.order, Reserve).envelope) for one in going if not one.until_ms or one.until_ms > now_ms
        ]

    def row(self, rows: Rows, request: bytes) -> ReservationRow | None:
        """The order of that id, if it is one of ours."""
        return rows.get(ReservationRow, lease=self._purse.lease, request=request)

    def answered(self, rows: Rows, row: ReservationRow, signed: Signed[Document]) -> Turn:
        """Take the provider's answer to an order, or its word that it holds the worker no longer."""
        match signed.doc:
            case Reserved():
                return self._reserved(rows, row, signed.doc, signed)
            case Decline() if not row.until_ms and not row.over:
                note = "; ".join(map(str, signed.doc.reasons))
                rows.save(replace(row, over=True, amount=0, note=note))
                return Turn(events=[ev.ReserveDeclined(row.request, signed.doc.reasons)])
            case ReserveEnded() if not row.over:
                return self._ended(rows, row, signed.doc)
        return Turn()

    def _reserved(self, rows: Rows, row: ReservationRow, answer: Reserved, signed: Signed[Document]) -> Turn:
        if row.until_ms or row.over:
            return Turn()
        if (answer.amount, answer.until_ms - answer.from_ms) != (row.amount, row.lasts_ms):
            why = f"the provider asks {answer.amount} for {answer.until_ms - answer.from_ms} ms of a worker"
            rows.save(replace(row, over=True, amount=0, note=why))
            evidence.keep(rows, row.lease, why, signed, job=row.request)
            return Turn(events=[ev.Cheated(row.request, why)])
        if not self._purse.account(rows).is_paying:
            return Turn()
        rows.save(replace(row, paid=True, from_ms=answer.from_ms, until_ms=answer.until_ms))
        account = self._purse.account(rows)
        wanted, turn = account.with_upfront(), Turn()
        if wanted.unlocked > account.promise.unlocked:
            turn += self._purse.sign(rows, account, wanted)
        turn.events.append(ev.WorkerReserved(row.request, answer.from_ms, answer.until_ms, answer.amount))
        return turn

    def _ended(self, rows: Rows, row: ReservationRow, answer: ReserveEnded) -> Turn:
        """What was not paid in time was never charged; of the rest the provider says what goes back."""
        unpaid = any(reason.code is ReasonCode.UNPAID for reason in answer.reasons)
        credit = row.amount if unpaid else min(answer.credit, row.amount)
        note = "; ".join(map(str, answer.reasons))
        rows.save(replace(row, over=True, amount=row.amount - credit, note=note))
        turn = Turn(events=[ev.ReservationEnded(row.request, credit, answer.reasons)])
        turn += self._purse.go_on(rows)
        return turn


def _check(account: Account, amount: int, now_ms: int) -> None:
    """Raise LocalError if a worker can't be held under this lease for so much."""
    lease, bid = account.lease, account.bid
    if not account.is_paying:
        raise LocalError(Fault.CONFLICT, f"the lease is {lease.state}: {lease.distrust or 'it takes no orders'}")
    if bid.bid_class is not BidClass.RESERVED:
        hint = "take a lease of the class reserved"
        raise LocalError(Fault.NOT_ALLOWED, "no worker is held for a lease of this class", hint=hint)
    ahead = sum(_left(account, one, now_ms) for one in account.reservations)
    if ahead + amount > lease.window:
        what = f"{amount} are asked at once, beside {ahead} for what is held already; the window is {lease.window}"
        hint = "reserve for a shorter time, or take the lease with a higher `dearest`"
        raise LocalError(Fault.INSUFFICIENT_FUNDS, what, hint=hint)
    if account.committed + max(amount, account.spare) > lease.cap:
        left = lease.cap - account.committed - account.spare
        raise LocalError(Fault.INSUFFICIENT_FUNDS, f"the seconds cost {amount}, the lease has {left} left")


def _left(account: Account, one: ReservationDue, now_ms: int) -> int:
    """What was paid, or will be, for seconds that have not begun."""
    if one.over:
        return 0
    return min(one.amount, reserved(account.bid.sheet, max(0, one.until_ms - now_ms))) if one.until_ms else one.amount
