"""A lane's lease at work. Rule: whoever is told what became of a picture is told once.

A provider that is out of reach for too long is given up by its lease's own conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from gpufair.client.batch import records
from gpufair.client.batch.lanes import Lane
from gpufair.client.batch.stalls import Stalls, plan
from gpufair.client.buyer import Buyer
from gpufair.client.failures import NoOfferError
from gpufair.client.leasing import OpenLease
from gpufair.client.market.bidding import Bidding
from gpufair.client.market.choosing import Choice
from gpufair.client.market.leases import Leases
from gpufair.client.market.plan import Plan
from gpufair.client.market.planning import NOBODY
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.client.wallet import purchases
from gpufair.client.wallet.batches import BatchRow
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol import limits
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.matching import Candidate, model_offer
from gpufair.protocol.messages import Bid, NodeRecord, Offer, Reason
from gpufair.protocol.pricing import quote

LOST_S = limits.LOST_MS / 1_000
LASTS_MS = limits.HOUR
IDLE_MS = 10 * limits.MINUTE


def now() -> float:
    """Seconds of the loop's clock, which only goes forward."""
    return asyncio.get_running_loop().time()


class AtWork:
    """One open lease and the pictures under way in it: their tasks and job ids by place."""

    def __init__(self, lane: Lane, opened: OpenLease) -> None:
        self.lane = lane
        self.opened = opened
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.jobs: dict[int, bytes] = {}

    def hear(self, event: ev.Event) -> None:
        """Take an event of one of its jobs."""
        if isinstance(event, ev.PictureLocked):
            for one in self.lane.tries:
                if self.jobs[one.place] == event.job:
                    one.signed = now()

    async def draw(self, place: int, wish: Wish) -> Purchase:
        """Order a picture whose try is written down, and wait for it. Raises as `OpenLease.buy` does."""
        return await self.opened.buy(wish, self.hear, job=self.jobs[place])

    def take(self, place: int) -> bool:
        """Whoever gets True from this says what became of a picture."""
        return self.tasks.pop(place, None) is not None

    async def cancel_all(self) -> None:
        """Stop everything that is under way; nobody else says what became of it."""
        tasks, self.tasks = list(self.tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def take_lease(
    buyer: Buyer, batch: BatchRow, lane: Lane, stalls: Stalls, look_again: Callable[[], Awaitable[Stalls]]
) -> OpenLease:
    """A funded lease of the lane's cap with the lane's seller, its conversation begun. Raises a FairError.

    What came to nothing on the way is fenced and let go of.
    """
    did = lane.seller.did

    async def again(*, only: str = did, passed: Mapping[str, Reason] = NOBODY) -> Plan:
        if passed or only != did:
            raise NoOfferError("a lane stays with its seller")
        return await plan(buyer, await look_again(), did, lane.cap)

    leases = Leases(
        buyer.desk, buyer.store, daily_cap=buyer.config.daily_cap, also=lambda rows, row: records.take(rows, row, batch)
    )
    bidding = Bidding(leases, buyer.store, buyer.peers, buyer.ledgers)
    wanted = await plan(buyer, stalls, did, lane.cap)
    bounds = buyer.planner.bounds(wanted, lasts_min_ms=min(LASTS_MS, buyer.config.deadline_ms))
    bounds = replace(bounds, price_max=wanted.candidate.quote.total)  # the budget was dealt out at this price
    lease = b""
    try:
        lease, wanted = await bidding.lease(wanted, again, bounds, lasts_ms=LASTS_MS, idle_ms=IDLE_MS)
    finally:
        for made in bidding.made:
            if made != lease:
                records.over(buyer.store, made)
                await buyer.carrying.let_go(purchases.lease(buyer.store, made))
    opened = OpenLease(buyer, lease, wanted, give_up_s=LOST_S)
    opened.open()
    return opened


def reopened(buyer: Buyer, lease: LeaseRow, wish: Wish) -> OpenLease:
    """A lease that was taken before this process, not `open` yet. Raises LocalError if its offer lacks the model."""
    bid, offer = from_bytes(lease.envelope, Bid).doc, from_bytes(lease.offer, Offer)
    model = model_offer(offer.doc, bid.sheet.model)
    if model is None:
        raise LocalError(Fault.UNKNOWN, "the lease's offer does not sell its model")
    spec = wish.specs(model)[0]
    precise = next((one for one in wish.specs(model) if one.precision in offer.doc.precisions), spec)
    choice = Choice(
        Candidate(offer, model, quote(precise, bid.sheet, first=True), bid.sheet),
        from_bytes(lease.record, NodeRecord),
        precise,
    )
    body = replace(wish, begin=None).body(model, precise, buyer.desk.random)
    return OpenLease(
        buyer, lease.id, Plan(wish, choice, body, purchases.ledger_of(lease), 0, lease.cap), give_up_s=LOST_S
    )
