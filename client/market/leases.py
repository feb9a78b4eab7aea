"""From an offer to a funded lease. Rule: bid and hold order are on disk before they go out, and checked coming back.

The daily cap is checked in the very transactions that write them: no other process can reserve in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gpufair.client.wallet import budget
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits, sealing
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LEASE, LeaseEvent, LeaseState
from gpufair.protocol.messages import (
    Bid,
    BidClass,
    Decline,
    Envelope,
    Hold,
    HoldOrder,
    NodeRecord,
    Offer,
    PriceSheet,
    Reason,
)
from gpufair.protocol.pricing import asked


@dataclass(frozen=True, slots=True)
class Terms:
    """What a bid asks for beyond its offer: the most it may cost, the window, how long, under which ledger."""

    cap: int
    window: int
    ledger: str
    lasts_ms: int = limits.HOUR
    idle_ms: int = 5 * limits.MINUTE
    notice_ms: int = 0
    margin_ms: int = limits.MARGIN_MIN_MS
    bid_class: BidClass = BidClass.ON_DEMAND
    sheet: PriceSheet | None = None
    """What is bid; None: what the offer asks of such a bid."""


class Leases:
    """The leases in our wallet, until they are funded."""

    def __init__(
        self,
        desk: Desk,
        store: RowStore,
        *,
        daily_cap: int | None = None,
        also: Callable[[Rows, LeaseRow], None] = lambda _rows, _lease: None,
    ) -> None:
        """`also` is called in the transaction that writes a bid down; what it raises, such as FundsError, undoes it."""
        self._desk = desk
        self._store = store
        self._daily_cap = daily_cap
        self._also = also

    def propose(
        self, offer: Signed[Offer], record: Signed[NodeRecord], model: bytes, image: bytes, terms: Terms
    ) -> Signed[Bid]:
        """Sign a bid for a model under an offer, and write it down. `record` must be the one that the offer names.

        Raises FundsError if the daily cap has no room for the bid's, PeerError for a record that can't be used.
        """
        if record.id != offer.doc.record or record.issuer != offer.issuer:
            raise PeerError(Fault.CONFLICT, "the offer names another node record than its provider published")
        sealing.check_recipient(record.doc.sealing_key)  # now: once the hold is there, its money would lie idle
        entry = next((m for m in offer.doc.models if m.digest == model), None)
        if entry is None:
            raise LocalError(Fault.UNKNOWN, "the offer does not sell this model")
        now = self._desk.now_ms()
        bid = self._desk.sign(
            Bid(
                head=self._desk.head(offer.issuer, parent=offer.id),
                sheet=terms.sheet or asked(offer.doc, entry, terms.bid_class, terms.notice_ms),
                bid_class=terms.bid_class,
                cap=terms.cap,
                window=terms.window,
                notice_ms=terms.notice_ms,
                idle_limit_ms=terms.idle_ms,
                ledger=terms.ledger,
                accept_by_ms=now + limits.FUNDING_TIMEOUT_MS,
                lease_expires_at_ms=now + terms.lasts_ms,
                margin_ms=terms.margin_ms,
                worker_image=image,
                record=record.id,
            )
        )
        row = LeaseRow(
            id=bid.id, provider=offer.issuer, ledger=terms.ledger, state=LeaseState.PROPOSED, envelope=bid.bytes,
            offer=offer.bytes, record=record.bytes, order=b"", hold=b"", voucher=b"", cap=terms.cap,
            window=terms.window,
            expires_ms=now + terms.lasts_ms, hold_expires_ms=now + terms.lasts_ms + terms.margin_ms, created_ms=now,
            captured=0, released=0, distrust="",
        )  # fmt: skip
        with self._store.begin() as rows:
            budget.check_cap(rows, self._daily_cap, terms.cap, now)
            rows.insert(row)
            self._also(rows, row)
        return bid

    def answered(self, lease: bytes, answer: Envelope) -> tuple[Reason, ...]:
        """Take the provider's answer to a bid: the lease, or the reasons of a decline (empty when it is a lease)."""
        decline = self.declined(lease, answer)
        return decline.reasons if decline is not None else ()

    def declined(self, lease: bytes, answer: Envelope) -> Decline | None:
        """Take the provider's answer to a bid: None when it is the lease, else the decline with its counter-offer."""
        with self._store.begin() as rows:
            row = _row(rows.get(LeaseRow, id=lease))
            if answer.payload_type == Decline.TYPE:
                decline = self._desk.receive_recorded(answer, Decline)
                if decline.issuer != row.provider or decline.doc.head.parent != lease:
                    raise PeerError(Fault.BAD_SIGNATURE, "the decline is not the provider's answer to this bid")
                rows.save(replace(row, state=LEASE.after(LeaseState(row.state), LeaseEvent.DECLINE)))
                return decline.doc
            signed = dsse.read(answer, Bid)
            if signed.id != lease:
                raise PeerError(Fault.CONFLICT, "the lease is not for the bid that we signed")
            dsse.authenticate(signed, also=[row.provider])
            rows.save(replace(row, state=LEASE.after(LeaseState(row.state), LeaseEvent.ACCEPT), envelope=signed.bytes))
        return None

    def order_hold(self, lease: bytes) -> Signed[HoldOrder]:
        """The order to the ledger that reserves the cap; the same one every time it is asked for.

        Raises FundsError if the daily cap has no room for it any more: the bid's answer may have taken long.
        """
        with self._store.begin() as rows:
            row = _row(rows.get(LeaseRow, id=lease))
            if row.order:
                return from_bytes(row.order, HoldOrder)
            if row.state != LeaseState.AGREED:
                raise LocalError(Fault.CONFLICT, f"the lease is {row.state}: no money is reserved for it")
            budget.check_cap(rows, self._daily_cap, row.cap, self._desk.now_ms(), besides=lease)
            head = self._desk.head(row.ledger, parent=lease)
            order = self._desk.sign(HoldOrder(head, lease, row.provider, row.cap, row.hold_expires_ms))
            rows.save(replace(row, order=order.bytes))
        return order

    def held(self, lease: bytes, answer: Envelope) -> tuple[Reason, ...]:
        """Take the ledger's answer to the hold order: the hold, or its reasons (empty when it holds)."""
        with self._store.begin() as rows:
            row = _row(rows.get(LeaseRow, id=lease))
            parent = from_bytes(row.order, HoldOrder).id
            if answer.payload_type == Decline.TYPE:
                decline = self._desk.receive_recorded(answer, Decline)
                if decline.issuer != row.ledger or decline.doc.head.parent != parent:
                    raise PeerError(Fault.BAD_SIGNATURE, "the refusal is not the ledger's answer to this order")
                rows.save(replace(row, state=LEASE.after(LeaseState(row.state), LeaseEvent.ABANDON)))
                return decline.doc.reasons
            hold = self._desk.receive_recorded(answer, Hold)
            stated = (hold.doc.lease, hold.doc.payer, hold.doc.payee, hold.doc.amount, hold.doc.hold_expires_at_ms)
            if hold.issuer != row.ledger or stated != (
                lease, self._desk.did, row.provider, row.cap, row.hold_expires_ms
            ):  # fmt: skip
                raise PeerError(Fault.CONFLICT, "the hold is not the one that we ordered")
            rows.save(replace(row, state=LEASE.after(LeaseState(row.state), LeaseEvent.FUND), hold=hold.bytes))
        return ()


def _row(row: LeaseRow | None) -> LeaseRow:
    if row is None:
        raise LocalError(Fault.UNKNOWN, "the wallet has no such lease")
    return row
