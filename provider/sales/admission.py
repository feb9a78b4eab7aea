"""A bid becomes a lease or a decline. Rule: every reason is said, with numbers, signed; one bid, one answer."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits, matching, wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LIVE, LeaseEvent, LeaseState
from gpufair.protocol.messages import Bid, BidClass, Decline, Envelope, Offer, Reason, ReasonCode, Terms
from gpufair.protocol.pricing import asked
from gpufair.provider.jobs.capacity import holders
from gpufair.provider.jobs.leases import Leases
from gpufair.provider.jobs.lookup import after
from gpufair.provider.jobs.store import LeaseRow, RequestRow
from gpufair.provider.sales.crowd import Crowd
from gpufair.provider.sales.offers import Offers
from gpufair.provider.sales.stock import Stock


class Admission:
    """Answers bids."""

    def __init__(self, desk: Desk, store: RowStore, leases: Leases, offers: Offers, stock: Stock) -> None:
        self._desk, self._store, self._leases = desk, store, leases
        self._offers, self._stock = offers, stock
        self._crowd = Crowd()

    def place(self, document: Envelope, source: str = "") -> Envelope:
        """The lease (the bid's own bytes, signed by both), or a decline with every reason. The answer is on disk first.

        A bid seen before gets its recorded answer; its id with other bytes is refused. `source` is the address that it
        came from.
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
            room = self._room(rows, bid, source)
            reasons = self._objections(bid, offer, newest, room)
            key = self._offers.sealing_key(offer) if offer is not None else None
            if reasons or key is None:
                answer = self._decline(bid, reasons, newest, room).envelope
            else:
                answer = dsse.countersign(bid, self._desk.signer).envelope
                if room.gives_way is not None:
                    rows.save(after(room.gives_way, LeaseEvent.ABANDON))
                self._leases.agree(rows, Signed(bid.doc, bid.id, answer), key)
                self._crowd.came(bid.id, source)
            # A refused bid can't be taken up again once it has expired, so its answer need not be kept any longer.
            forget = bid.doc.head.expires_at_ms + limits.SKEW_MS
            if not reasons:
                forget = max(forget, bid.doc.lease_expires_at_ms + bid.doc.margin_ms)
            rows.insert(RequestRow(bid.issuer, bid.doc.head.id, bid.id, wire.encode(answer), forget))
        return answer

    def _decline(
        self, bid: Signed[Bid], reasons: tuple[Reason, ...], newest: Signed[Offer], room: _Room
    ) -> Signed[Decline]:
        """Every reason. What would pass is named for as long as its offer can be bid on, should it change now."""
        instead = self._counter(bid.doc, newest, room)
        until = self._desk.now_ms() + limits.SUPERSEDED_GRACE_MS if instead is not None else None
        head = self._desk.head(bid.issuer, parent=bid.id, expires_at_ms=until)
        return self._desk.sign(Decline(head, reasons[: limits.REASONS_MAX], instead))

    def _counter(self, bid: Bid, newest: Signed[Offer], room: _Room) -> Terms | None:
        """A bid that would be accepted now, as near to this one as can be; None where none would."""
        terms, stock = newest.doc, self._stock
        model = matching.model_offer(terms, bid.sheet.model)
        window_max = min(terms.window_max, room.unsecured)
        if model is None or stock.gate.reasons() or room.reasons or window_max < 1:
            return None
        wanted = (bid.bid_class, BidClass.ON_DEMAND)
        bid_class = next((one for one in wanted if one in terms.classes and room.has_place(one)), None)
        if bid_class is None:
            return None
        notice_ms = min(bid.notice_ms, terms.notice_max_ms)
        return Terms(
            sheet=asked(terms, model, bid_class, notice_ms),
            window_max=window_max,
            limits=terms.limits,
            bid_class=bid_class,
            notice_ms=notice_ms,
            cap_max=stock.config.limits.cap,
            lease_max_ms=self._longest_ms,
            wait_ms=stock.wait_ms(bid_class),
            offer=newest.id,
            record=terms.record,
        )

    def _objections(
        self, bid: Signed[Bid], offer: Signed[Offer] | None, newest: Signed[Offer], room: _Room
    ) -> tuple[Reason, ...]:
        gate = self._stock.gate.reasons()
        reasons = [*gate]
        if offer is None:
            ours = self._offers.was_ours(bid.doc.head.parent)
            reasons.append(Reason(ReasonCode.OFFER_SUPERSEDED if ours else ReasonCode.OFFER_UNKNOWN))
        elif bid.doc.record != offer.doc.record or self._offers.sealing_key(offer) is None:
            reasons.append(Reason(ReasonCode.OFFER_SUPERSEDED, detail="the node record has been renewed"))
        if offer is not None or not gate:  # what is shown behind a closed gate says nothing of a bid on an older offer
            reasons += matching.acceptable(offer or newest, bid.doc, cap_max=self._stock.config.limits.cap)
        reasons += self._time_reasons(bid.doc)
        if bid.doc.window > room.unsecured:
            all_of_them = self._stock.config.limits.unsecured
            wanted = all_of_them - room.unsecured + bid.doc.window
            reasons.append(Reason(ReasonCode.UNSECURED_LIMIT, wanted, all_of_them, "micro-credits"))
        if (taken := room.taken(bid.doc.bid_class)) >= room.places:
            reasons.append(Reason(ReasonCode.QUEUE_FULL, taken + 1, room.places, "jobs at work or waiting"))
        if bid.doc.bid_class is BidClass.RESERVED and room.held >= room.held_most > 0:
            reasons.append(Reason(ReasonCode.RESERVED, room.held + 1, room.held_most, "workers held"))
        return (*reasons, *room.reasons)

    @property
    def _longest_ms(self) -> int:
        return self._stock.config.limits.lease_minutes * limits.MINUTE

    def _time_reasons(self, bid: Bid) -> list[Reason]:
        now, reasons = self._desk.now_ms(), []
        lasts = bid.lease_expires_at_ms - now
        if not 0 < lasts <= self._longest_ms:
            reasons.append(Reason(ReasonCode.EXPIRY_TOO_LATE, lasts, self._longest_ms, "ms"))
        if bid.accept_by_ms < now:
            reasons.append(Reason(ReasonCode.EXPIRED, now, bid.accept_by_ms, "ms", "accept by"))
        return reasons

    def _room(self, rows: Rows, bid: Signed[Bid], source: str) -> _Room:
        """Rules 21 and 22: few unfunded leases, and a bound on what all strangers together owe at any moment."""
        unfunded = rows.summary(LeaseRow, "window", state=LeaseState.AGREED)
        gives_way = self._gives_way(rows, source) if unfunded.count >= limits.UNFUNDED_MAX else None
        mine = rows.summary(LeaseRow, "window", state=LeaseState.AGREED, client=bid.issuer)
        live = rows.summary(LeaseRow, "window", state=LIVE)
        checks = (
            (mine.count + 1, limits.UNFUNDED_PER_DID_MAX, "unfunded leases of yours"),
            (unfunded.count + 1 - (gives_way is not None), limits.UNFUNDED_MAX, "unfunded leases"),
            (live.count + 1, limits.LEASES_MAX, "leases"),
        )
        full = [
            Reason(ReasonCode.TOO_MANY_LEASES, wanted, most, unit) for wanted, most, unit in checks if wanted > most
        ]
        capacity, now = self._stock.capacity, self._desk.now_ms()
        on_demand = in_all = capacity.taken(rows, now, on_demand=True)
        if bid.doc.bid_class is BidClass.INTERRUPTIBLE:
            in_all = capacity.taken(rows, now, on_demand=False)
        left, most = self._stock.config.limits.unsecured - live.total, self._stock.config.workers.reserved_workers
        return _Room(left, full, gives_way, capacity.places, on_demand, in_all, len(holders(rows)), most)

    def _gives_way(self, rows: Rows, source: str) -> LeaseRow | None:
        unfunded = {lease.id: lease for lease in rows.all(LeaseRow, order="agreed_ms", state=LeaseState.AGREED)}
        lease = self._crowd.gives_way([*unfunded], source)
        return None if lease is None else unfunded[lease]


@dataclass(frozen=True, slots=True)
class _Room:
    """What is left for one more lease: unpaid work in micro-credits, and why there is no place, if so."""

    unsecured: int
    reasons: list[Reason]
    gives_way: LeaseRow | None
    """The unfunded lease that is abandoned for this one, if that takes it."""
    places: int
    on_demand: int
    """Places that are taken by jobs on demand ..."""
    in_all: int
    """... and by all: for an interruptible bid."""
    held: int
    """Workers that are held for leases ..."""
    held_most: int
    """... and how many may be."""

    def taken(self, bid_class: BidClass) -> int:
        """Places that are taken for a job of this class."""
        return self.in_all if bid_class is BidClass.INTERRUPTIBLE else self.on_demand

    def has_place(self, bid_class: BidClass) -> bool:
        """Whether a job of this class could be taken now."""
        may_hold = bid_class is not BidClass.RESERVED or self.held < self.held_most
        return may_hold and self.taken(bid_class) < self.places
