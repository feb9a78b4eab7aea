"""Workers held for leases. Rule: paid for before they are held, and what is not held is given back.

A client orders so many seconds at a time; the provider says until when, and holds a worker as soon as they are paid. An
order that comes before the last one is over goes on from there. Each second begun is charged; should the provider end
it early, the seconds that are left go back against what is due next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from gpufair.protocol import limits, pricing, wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LIVE
from gpufair.protocol.messages import (
    Answer,
    Bid,
    BidClass,
    Decline,
    Document,
    Envelope,
    Reason,
    ReasonCode,
    Reserve,
    Reserved,
    ReserveEnded,
)
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.capacity import holders
from gpufair.provider.jobs.effects import Effect, LetGo, Send
from gpufair.provider.jobs.lookup import find
from gpufair.provider.jobs.requests import is_known, receive, remember
from gpufair.provider.jobs.settling import keeping, settle_reservations
from gpufair.provider.jobs.store import LeaseRow, RequestRow, ReservationRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holding:
    """What an owner holds for others: so many workers at most, while the gate has no objection and one can be had."""

    workers: int = 0
    gate: Callable[[], tuple[Reason, ...]] = tuple
    can_keep: Callable[[], bool] = lambda: True
    """Whether a worker could be kept now beside those that are."""


class Reservations:
    """The reservations of one provider."""

    def __init__(self, desk: Desk, store: RowStore, holding: Holding) -> None:
        self._desk, self._store, self._holding = desk, store, holding

    def order(self, lease_id: bytes, document: Envelope) -> list[Effect]:
        """Answer an order on its lease's stream: reserved, or a decline. The same again gets the same answer."""
        with self._store.begin() as rows:
            signed = receive(rows, self._desk, document, Reserve, stream=lease_id)
            request = signed.doc.head.id
            if is_known(rows, signed):
                return self._again(rows, lease_id, signed)
            account = Account.load(rows, find(rows, lease_id))
            answer, effects = self._answer(rows, account, signed), list[Effect]()
            # Whoever is cut off orders again what is not over.
            until_ms = answer.doc.until_ms if isinstance(answer.doc, Reserved) else 0
            remember(rows, signed, answer.bytes, until_ms=until_ms)
            if until_ms:
                account = settle_reservations(rows, Account.load(rows, account.lease))
                effects = keeping(account)
        return [Send(lease_id, Answer(request, answer.envelope)), *effects]

    def _again(self, rows: Rows, lease_id: bytes, signed: Signed[Reserve]) -> list[Effect]:
        request = signed.doc.head.id
        known, row = rows.get(RequestRow, signer=signed.issuer, id=request), rows.get(ReservationRow, id=signed.id)
        said = [known.answer if known is not None else b"", row.ended if row is not None else b""]
        return [Send(lease_id, Answer(request, wire.decode(Envelope, one))) for one in said if one]

    def _answer(self, rows: Rows, account: Account, signed: Signed[Reserve]) -> Signed[Document]:
        now, lease, order = self._desk.now_ms(), account.lease, signed.doc
        from_ms = max(now, *(one.until_ms for one in account.reservations)) if account.reservations else now
        until_ms, amount = from_ms + order.lasts_ms, pricing.reserved(account.bid.sheet, order.lasts_ms)
        head = self._desk.head(signed.issuer, parent=signed.id)
        if reasons := self._objections(rows, account, until_ms, amount):
            return self._desk.sign(Decline(head, reasons[: limits.REASONS_MAX]))
        rows.insert(
            ReservationRow(
                id=signed.id, lease=lease.id, request=order.head.id, amount=amount, from_ms=from_ms, until_ms=until_ms,
                asked_ms=now, paid=False, over=False, ended=b"",
            )
        )  # fmt: skip
        rows.change(LeaseRow, {"id": lease.id}, active_ms=now)
        return self._desk.sign(Reserved(head, lease.id, from_ms, until_ms, amount))

    def _objections(self, rows: Rows, account: Account, until_ms: int, amount: int) -> tuple[Reason, ...]:
        lease, bid, now = account.lease, account.bid, self._desk.now_ms()
        reasons = [*self._holding.gate()]
        if lease.state not in LIVE:
            reasons.append(Reason(ReasonCode.LEASE_CLOSED, detail=lease.state))
        if bid.bid_class is not BidClass.RESERVED:
            reasons.append(Reason(ReasonCode.CLASS_NOT_SOLD, detail="the lease is not of the class reserved"))
        if until_ms > lease.expires_ms:
            reasons.append(Reason(ReasonCode.EXPIRY_TOO_LATE, until_ms - now, lease.expires_ms - now, "ms"))
        if amount > bid.window:
            reasons.append(Reason(ReasonCode.WINDOW_TOO_SMALL, amount, bid.window, "micro-credits"))
        costs = account.committed(rows) + max(amount, account.spare)
        if costs > bid.cap:
            reasons.append(Reason(ReasonCode.PRICE_ABOVE_CAP, costs, bid.cap, "micro-credits"))
        if any(not one.paid for one in account.reservations):
            reasons.append(Reason(ReasonCode.UNPAID, 2, 1, "unpaid reservations", "the last one is to be paid first"))
        if not account.reservations:
            reasons += self._no_worker(rows)
        return tuple(reasons)

    def _no_worker(self, rows: Rows) -> list[Reason]:
        taken, most = len(holders(rows)), self._holding.workers
        if taken >= most:
            return [Reason(ReasonCode.RESERVED, taken + 1, most, "workers held")]
        if not self._holding.can_keep():
            return [Reason(ReasonCode.RESERVED, 1, 0, "workers that are free or can be freed")]
        return []

    # --- their end ---------------------------------------------------------------------------------------------------

    def tick(self) -> list[Effect]:
        """Let time do its work: forget what is not paid in time, and end what is over."""
        now, effects = self._desk.now_ms(), list[Effect]()
        with self._store.begin() as rows:
            for one in rows.all(ReservationRow, order="asked_ms", over=False):
                if not one.paid and now >= one.asked_ms + limits.WINDOW_TIMEOUT_MS:
                    waited = now - one.asked_ms
                    reason = Reason(ReasonCode.UNPAID, waited, limits.WINDOW_TIMEOUT_MS, "ms unpaid")
                    effects += self._end(rows, one, one.amount, reason)
                elif one.paid and now >= one.until_ms:
                    rows.save(replace(one, over=True))
                    rows.change(LeaseRow, {"id": one.lease}, active_ms=now)
                    effects += self._let_go(rows, one.lease)
        return effects

    def end_all(self, *reasons: Reason) -> list[Effect]:
        """The owner needs the workers: all reservations end now, and what is left of them goes back."""
        now = self._desk.now_ms()
        with self._store.begin() as rows:
            return [
                effect
                for one in rows.all(ReservationRow, order="asked_ms", over=False)
                for effect in self._end(rows, one, _left(rows, one, now), *reasons)
            ]

    def restarted(self) -> list[Effect]:
        """The node was down, nobody knows how long: what was reserved then goes back whole."""
        reason = Reason(ReasonCode.RESTARTED, detail="the provider was restarted")
        with self._store.begin() as rows:
            going = rows.all(ReservationRow, order="asked_ms", over=False)
            return [effect for one in going for effect in self._end(rows, one, one.amount, reason)]

    def _end(self, rows: Rows, one: ReservationRow, credit: int, *reasons: Reason) -> list[Effect]:
        credit = credit if one.paid else 0
        head = self._desk.head(find(rows, one.lease).client, parent=one.id)
        end = self._desk.sign(ReserveEnded(head, one.lease, self._desk.now_ms(), credit, reasons))
        rows.save(replace(one, over=True, amount=one.amount - credit, ended=end.bytes))
        log.info("reservation %s ended: %s", one.id.hex()[:12], "; ".join(map(str, reasons)))
        return [*self._let_go(rows, one.lease), Send(one.lease, Answer(one.request, end.envelope))]

    def _let_go(self, rows: Rows, lease: bytes) -> list[Effect]:
        return [] if rows.all(ReservationRow, lease=lease, over=False, paid=True) else [LetGo(lease)]


def _left(rows: Rows, one: ReservationRow, now_ms: int) -> int:
    """What the seconds cost that are left: one that has begun is charged."""
    per_second = from_bytes(find(rows, one.lease).envelope, Bid).doc.sheet.per_reserved_second
    return min(one.amount, max(0, one.until_ms - max(now_ms, one.from_ms)) // limits.SECOND * per_second)
