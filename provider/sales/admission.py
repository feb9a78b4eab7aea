"""A bid becomes a lease or a decline. Rule: every reason is said, with numbers, signed; one bid, one answer."""

from __future__ import annotations

from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits, matching, wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LIVE, LeaseState
from gpufair.protocol.messages import Bid, Decline, Envelope, Offer, Reason, ReasonCode, Terms
from gpufair.protocol.pricing import frozen_sheet
from gpufair.provider.jobs.leases import Leases
from gpufair.provider.jobs.store import LeaseRow, RequestRow
from gpufair.provider.sales.offers import Offers
from gpufair.provider.sales.stock import Stock


class Admission:
    """Answers bids."""

    def __init__(self, desk: Desk, store: RowStore, leases: Leases, offers: Offers, stock: Stock) -> None:
        self._desk, self._store, self._leases = desk, store, leases
        self._offers, self._stock = offers, stock

    def place(self, document: Envelope) -> Envelope:
        """The lease (the bid's own bytes, signed by both), or a decline with every reason. The answer is on disk first.

        A bid seen before gets its recorded answer; its id with other bytes is refused.
        """
        bid = dsse.read(document, Bid)
        with self._store.read() as rows:
            known = rows.get(RequestRow, signer=bid.issuer, id=bid.doc.head.id)
        if known is not None:
            if known.document != bid.id:
                raise PeerError(Fault.REPLAYED_DIFFERENT, "this id belongs to another bid")
            return wire.decode(Envelope, known.answer)
        self._desk.receive(document, Bid)
        if len(document.signatures) != 1:
            raise PeerError(Fault.MALFORMED, "a bid carries its client's signature alone")
        # Renewing the offer writes too, so it is done before our own transaction begins.
        offer, newest = self._offers.biddable(bid.doc.head.parent), self._offers.current()
        with self._store.begin() as rows:
            reasons = self._objections(rows, bid, offer)
            key = self._offers.sealing_key(offer) if offer is not None else None
            if reasons or key is None:
                answer = self._decline(bid, reasons, newest).envelope
            else:
                answer = dsse.countersign(bid, self._desk.signer).envelope
                self._leases.agree(rows, Signed(bid.doc, bid.id, answer), key)
            # A refused bid can't be taken up again once it has expired, so its answer need not be kept any longer.
            forget = bid.doc.head.expires_at_ms + limits.SKEW_MS
            if not reasons:
                forget = max(forget, bid.doc.lease_expires_at_ms + bid.doc.margin_ms)
            rows.insert(RequestRow(bid.issuer, bid.doc.head.id, bid.id, wire.encode(answer), forget))
        return answer

    def _decline(self, bid: Signed[Bid], reasons: tuple[Reason, ...], newest: Signed[Offer]) -> Signed[Decline]:
        model = matching.model_offer(newest.doc, bid.doc.sheet.model)
        instead = Terms(frozen_sheet(model), newest.doc.window_max, newest.doc.limits) if model else None
        head = self._desk.head(bid.issuer, parent=bid.id)
        return self._desk.sign(Decline(head, reasons[: limits.REASONS_MAX], instead))

    def _objections(self, rows: Rows, bid: Signed[Bid], offer: Signed[Offer] | None) -> tuple[Reason, ...]:
        gate = self._stock.gate.reasons()
        if offer is None:
            ours = self._offers.was_ours(bid.doc.head.parent)
            return (*gate, Reason(ReasonCode.OFFER_SUPERSEDED if ours else ReasonCode.OFFER_UNKNOWN))
        reasons = [*gate, *matching.acceptable(offer, bid.doc, cap_max=self._stock.config.limits.cap)]
        reasons += self._time_reasons(bid.doc)
        if bid.doc.record != offer.doc.record or self._offers.sealing_key(offer) is None:
            reasons.append(Reason(ReasonCode.OFFER_SUPERSEDED, detail="the node record has been renewed"))
        return (*reasons, *self._capacity_reasons(rows, bid))

    def _time_reasons(self, bid: Bid) -> list[Reason]:
        now, reasons = self._desk.now_ms(), []
        longest = self._stock.config.limits.lease_minutes * limits.MINUTE
        lasts = bid.lease_expires_at_ms - now
        if not 0 < lasts <= longest:
            reasons.append(Reason(ReasonCode.EXPIRY_TOO_LATE, lasts, longest, "ms"))
        if bid.accept_by_ms < now:
            reasons.append(Reason(ReasonCode.EXPIRED, now, bid.accept_by_ms, "ms", "accept by"))
        if bid.notice_ms:
            reasons.append(Reason(ReasonCode.NOTICE_NOT_OFFERED, bid.notice_ms, 0, "ms"))
        return reasons

    def _capacity_reasons(self, rows: Rows, bid: Signed[Bid]) -> list[Reason]:
        """Rules 21 and 22: few unfunded leases, and a bound on what all strangers together owe at any moment."""
        unfunded = rows.summary(LeaseRow, "window", state=LeaseState.AGREED)
        mine = rows.summary(LeaseRow, "window", state=LeaseState.AGREED, client=bid.issuer)
        live = rows.summary(LeaseRow, "window", state=LIVE)
        unsecured = bid.doc.window + live.total
        checks = (
            (ReasonCode.TOO_MANY_LEASES, mine.count + 1, limits.UNFUNDED_PER_DID_MAX, "unfunded leases of yours"),
            (ReasonCode.TOO_MANY_LEASES, unfunded.count + 1, limits.UNFUNDED_MAX, "unfunded leases"),
            (ReasonCode.TOO_MANY_LEASES, live.count + 1, limits.LEASES_MAX, "leases"),
            (ReasonCode.UNSECURED_LIMIT, unsecured, self._stock.config.limits.unsecured, "micro-credits"),
        )
        return [Reason(code, wanted, limit, unit) for code, wanted, limit, unit in checks if wanted > limit]
