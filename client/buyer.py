"""Buying over the network. Rule: every step is on disk before it goes out, so that it may be broken off anywhere.

What is left undone by a lost connection, a closed lid or Ctrl-C is taken up again by `fetch` with the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from gpufair.client.carrying import Carrying, ignore
from gpufair.client.config import Config
from gpufair.client.failures import PurchaseError, StoppedError
from gpufair.client.fetching import Fetching
from gpufair.client.going_on import LOST_S, SPARE_MS, GoingOn, idle
from gpufair.client.ledgers import Ledgers
from gpufair.client.market.bidding import Bidding
from gpufair.client.market.choosing import Choice, Choices
from gpufair.client.market.funding import Funded
from gpufair.client.market.leases import Leases
from gpufair.client.market.market import Market
from gpufair.client.market.plan import Plan
from gpufair.client.market.planning import Planner
from gpufair.client.market.wish import Wish
from gpufair.client.resuming import Resuming, most_price
from gpufair.client.session.events import BidDeclined, JobPlaced
from gpufair.client.session.session import Session
from gpufair.client.session.settling import Settling
from gpufair.client.session.talk import Listen
from gpufair.client.stopping import unless
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol import limits
from gpufair.protocol.addresses import PeerAddress
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LIVE
from gpufair.protocol.messages import SearchRequest


class Buyer:
    """One buyer's wallet, keys and connections at work. `peers` and `store` are closed by whoever opened them."""

    def __init__(self, desk: Desk, store: RowStore, peers: Peers, config: Config) -> None:
        self.desk = desk
        self.store = store
        self.peers = peers
        self.config = config
        self.ledgers = Ledgers(desk, peers)
        self.settling = Settling(desk, store, self.ledgers)
        self.carrying = Carrying(desk, store, peers, self.ledgers, self.settling)
        self.fetching = Fetching(desk, store, self.carrying, self.settling)
        self.planner = Planner(desk, store, peers, config, self.ledgers)
        self.resuming = Resuming(self, self.carrying, self.fetching, config)

    # --- looking around ------------------------------------------------------------------------------------------

    def addresses(self) -> tuple[PeerAddress, ...]:
        """See `Planner.addresses`."""
        return self.planner.addresses()

    async def market(self, wish: Wish | None = None, *, wanted: SearchRequest | None = None) -> Market:
        """See `Planner.market`."""
        return await self.planner.market(wish, wanted=wanted)

    def choose(self, market: Market, wish: Wish) -> Choices:
        """See `Planner.choose`."""
        return self.planner.choose(market, wish)

    async def plan(self, wish: Wish, *, budget: int = 0, dearest: int = 0) -> Plan:
        """See `Planner.plan`."""
        return await self.planner.plan(wish, budget=budget, dearest=dearest)

    async def payable(self, market: Market, choices: Sequence[Choice], wish: Wish, *, budget: int = 0) -> Funded:
        """See `Planner.payable`."""
        return await self.planner.payable(market, choices, wish, budget=budget)

    # --- buying --------------------------------------------------------------------------------------------------

    async def buy(self, plan: Plan, listen: Listen = ignore, *, stop: asyncio.Event | None = None) -> Purchase:
        """Lease, hold, job, pictures, settlement. Raises a PurchaseError for every other ending.

        Once `stop` is set the job is cancelled and all is settled; StoppedError then says what is here all the same.
        """
        stop, until_ms = stop or asyncio.Event(), self.desk.now_ms() + self.config.deadline_ms
        lasts_ms = self.config.deadline_ms + SPARE_MS
        lease, plan = await self.lease(plan, lasts_ms=lasts_ms, idle_ms=idle(lasts_ms), stop=stop, listen=listen)
        session = Session(self.desk, self.store, lease)
        turn = session.place(
            plan.spec, plan.body, deadline_ms=self.config.deadline_ms, preview_every=plan.wish.preview_every,
            checkpoint_every=plan.checkpoint_every,
        )  # fmt: skip
        for event in turn.events:
            listen(event)
        job = next(event.job for event in turn.events if isinstance(event, JobPlaced))
        try:
            return await self.carrying.through(
                session, job, listen, deadline_ms=self.config.deadline_ms, stop=stop, give_up_s=LOST_S
            )
        except PurchaseError as error:
            most = most_price(plan.candidate.quote.total, plan.wish, self.config)
            going = GoingOn(self, self.carrying, plan.wish, most_price=most, until_ms=until_ms, stop=stop)
            return await going.on(lease, job, error, listen)

    async def lease(
        self,
        plan: Plan,
        *,
        lasts_ms: int,
        idle_ms: int = 5 * limits.MINUTE,
        stop: asyncio.Event | None = None,
        listen: Listen = ignore,
    ) -> tuple[bytes, Plan]:
        """A funded lease for a plan, and the plan that it is for: it may be another provider's in the end.

        Raises DeclinedError, FundsError, UnreachableError; StoppedError once `stop` is set, and lets go of the hold.
        """
        bidding = Bidding(
            Leases(self.desk, self.store, daily_cap=self.config.daily_cap), self.store, self.peers, self.ledgers,
            tell=lambda who, why, then: listen(BidDeclined(who, why, then)),
        )  # fmt: skip
        again = partial(self.planner.plan, plan.wish, budget=plan.budget, dearest=plan.dearest)
        bounds = self.planner.bounds(plan, lasts_min_ms=min(lasts_ms, self.config.deadline_ms))
        try:
            return await unless(stop, bidding.lease(plan, again, bounds, lasts_ms=lasts_ms, idle_ms=idle_ms))
        except StoppedError:
            for made in bidding.made:
                await self.carrying.let_go(purchases.lease(self.store, made))
            raise

    # --- taking up again -----------------------------------------------------------------------------------------

    async def fetch(self, purchase: Purchase, listen: Listen = ignore, *, patience_s: float | None = None) -> Purchase:
        """Bring in what is missing: from the wallet, the provider's stream, the ledger. Raises a PurchaseError."""
        return await self.fetching.fetch(purchase, listen, patience_s=patience_s)

    def resumable(self) -> list[Purchase]:
        """The jobs that are not done and that nobody has given up, the oldest first."""
        return purchases.resumable(self.store, self.desk.now_ms())

    async def resume(
        self, purchase: Purchase, listen: Listen = ignore, *, stop: asyncio.Event | None = None
    ) -> Purchase:
        """Take up one job: what is ordered is brought in, and what its provider has no more, or leaves undone, goes on
        elsewhere. Raises a PurchaseError if it doesn't get whole.
        """
        return await self.resuming.one(purchase, listen, stop or asyncio.Event())

    async def resume_all(
        self, listen: Listen = ignore, *, stop: asyncio.Event | None = None
    ) -> list[Purchase | PurchaseError]:
        """Take up every job of `resumable`; what each has come to, in their order."""
        return await self.resuming.all(self.resumable(), listen, stop or asyncio.Event())

    async def cancel(self, purchase: Purchase, listen: Listen = ignore) -> Purchase:
        """Stop a job; what was delivered stays payable. Raises LocalError if it is over already."""
        last = purchase.last
        if last.is_over or last.lease.state not in LIVE:
            what = f"the job is {purchase.state}: there is nothing to cancel"
            raise LocalError(Fault.CONFLICT, what, hint="see: gpufair show " + purchase.job.id.hex()[:12])
        session = Session(self.desk, self.store, last.lease.id)
        say = session.cancel(last.job.id).ups
        await self.carrying.talk(session, last.job.id, listen, deadline_ms=limits.MINUTE, say=say)
        await self.settling.settle(session, listen)
        return purchases.by_id(self.store, purchase.lease.id, purchase.job.id)

    async def settle_open(self, *, young_ms: int = limits.MINUTE) -> list[LeaseRow]:
        """Let go of what no job needs, then ask the ledgers, once each, about every lease that is not settled.

        Returns those that still are not. `young_ms`: see `purchases.unneeded`.
        """
        for lease in purchases.unneeded(self.store, self.desk.now_ms(), young_ms=young_ms):
            await self.carrying.let_go(lease)
        return await self.settling.sweep()
