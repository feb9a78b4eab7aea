"""Buying over the network. Rule: every step is on disk before it goes out, so that it may be broken off anywhere.

What is left undone by a lost connection, a closed lid or Ctrl-C is taken up again by `fetch` with the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gpufair.client.carrying import Carrying, ignore
from gpufair.client.config import Config
from gpufair.client.failures import PurchaseError, StoppedError, UnreachableError
from gpufair.client.fetching import Fetching
from gpufair.client.going_on import LOST_S, SPARE_MS, GoingOn
from gpufair.client.ledgers import Ledgers
from gpufair.client.market.accusing import accuse
from gpufair.client.market.bidding import Bidding
from gpufair.client.market.choosing import Choice, Choices, choose
from gpufair.client.market.continued import Continued, preferred
from gpufair.client.market.funding import Funded, Funding
from gpufair.client.market.leases import Leases
from gpufair.client.market.market import Market, gather
from gpufair.client.market.plan import Plan, check_price
from gpufair.client.market.wish import Wish
from gpufair.client.session.events import JobPlaced
from gpufair.client.session.session import Session
from gpufair.client.session.settling import Settling
from gpufair.client.session.talk import Listen
from gpufair.client.stopping import unless
from gpufair.client.wallet import purchases
from gpufair.client.wallet.bans import banned
from gpufair.client.wallet.budget import check_cap, room_today
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wallet.store import LeaseRow, PeerRow
from gpufair.protocol import limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LIVE


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

    # --- looking around ------------------------------------------------------------------------------------------

    def addresses(self) -> tuple[PeerAddress, ...]:
        """Where to look: the nodes that were added, with the did that they had then, and those of the config."""
        with self.store.read() as rows:
            added = [PeerAddress(Endpoint.parse(row.address), row.did) for row in rows.all(PeerRow, order="added_ms")]
        known = {address.endpoint for address in added}
        return (*added, *(one for one in self.config.peers if one.endpoint not in known))

    async def market(self) -> Market:
        """Ask every known node what is on sale. Raises LocalError if none is known, UnreachableError."""
        addresses = self.addresses()
        if not addresses:
            hint = "add one with: gpufair peers add HOST:PORT"
            raise LocalError(Fault.UNKNOWN, "no node is known to start looking from", hint=hint)
        found = await gather(self.peers, addresses, self.desk.clock, self.store)
        if not found.asked:
            raise UnreachableError("no known node answers", hint="; ".join(t.what for t in found.troubles)[:400])
        await accuse(self.desk, self.store, self.peers, addresses)
        return found

    def choose(self, market: Market, wish: Wish) -> Choices:
        """Who can fulfil a wish, the best first. Raises NoOfferError."""
        lost = wish.lost if isinstance(wish, Continued) else {}
        found = choose(
            market, wish, default_model=self.config.model, strategy=wish.strategy or self.config.strategy,
            bans=banned(self.store), lost=lost,
        )  # fmt: skip
        return preferred(found, wish)

    async def plan(self, wish: Wish, *, budget: int = 0, dearest: int = 0) -> Plan:
        """What would be bought, affordable and allowed. Raises NoOfferError, FundsError, UnreachableError.

        `budget` is for a lease that carries many jobs like this one, pictures of up to `dearest` each.
        """
        wish.check()
        market = await self.market()
        choices = self.choose(market, wish)
        good = check_price(choices, wish, self.config, budget=budget)
        paid = await self.payable(market, good, wish, budget=budget)
        body = wish.body(choices.model, paid.choice.spec, self.desk.random)
        return Plan(wish, paid.choice, body, paid.ledger, paid.available, budget, dearest, paid.dropped)

    async def payable(self, market: Market, choices: Sequence[Choice], wish: Wish, *, budget: int = 0) -> Funded:
        """The first of these choices that we can and may pay, and at which ledger. Raises as `plan` does."""
        with self.store.read() as rows:
            now, totals = self.desk.now_ms(), [budget or choice.candidate.quote.total for choice in choices]
            check_cap(rows, self.config.daily_cap, min(totals), now)
            room = room_today(rows, self.config.daily_cap, now)
            known = purchases.ledgers_used(rows) | {peer.did for peer in self.config.peers}
        trust = wish.trust_provider_ledger or self.config.trust_provider_ledger
        funding = Funding(
            self.ledgers, market.records.values(), trust_own=trust, known=known, budget=budget, only=wish.where.ledgers
        )
        affordable = [choice for choice, total in zip(choices, totals, strict=True) if room is None or total <= room]
        return await funding.first_payable(affordable, self.desk.did)

    # --- buying --------------------------------------------------------------------------------------------------

    async def buy(self, plan: Plan, listen: Listen = ignore, *, stop: asyncio.Event | None = None) -> Purchase:
        """Lease, hold, job, pictures, settlement. Raises a PurchaseError for every other ending.

        Once `stop` is set the job is cancelled and all is settled; StoppedError then says what is here all the same.
        """
        stop, until_ms = stop or asyncio.Event(), self.desk.now_ms() + self.config.deadline_ms
        lease, plan = await self.lease(plan, lasts_ms=self.config.deadline_ms + SPARE_MS, stop=stop)
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
            most = self._most(plan.wish, plan.candidate.quote.total)
            going = GoingOn(self, self.carrying, plan.wish, most_price=most, until_ms=until_ms, stop=stop)
            return await going.on(lease, job, error, listen)

    def _most(self, wish: Wish, first: int) -> int:
        """What a job may cost in all, with what was lost on its way. `first` is the price that it was begun for."""
        highest = self.config.max_price if wish.max_price is None else wish.max_price
        return first * limits.GO_ON_MILLI // 1_000 if highest is None else highest

    async def lease(
        self, plan: Plan, *, lasts_ms: int, idle_ms: int = 5 * limits.MINUTE, stop: asyncio.Event | None = None
    ) -> tuple[bytes, Plan]:
        """A funded lease for a plan, and the plan that it is for: its offer may have been renewed meanwhile.

        Raises DeclinedError, FundsError, UnreachableError; StoppedError once `stop` is set, and lets go of the hold.
        """
        leases = Leases(self.desk, self.store, daily_cap=self.config.daily_cap)
        bidding = Bidding(leases, self.store, self.peers, self.ledgers)

        async def again() -> Plan:
            return await self.plan(plan.wish, budget=plan.budget, dearest=plan.dearest)

        try:
            return await unless(stop, bidding.lease(plan, again, lasts_ms=lasts_ms, idle_ms=idle_ms))
        except StoppedError:
            for made in bidding.made:
                await self.carrying.let_go(purchases.lease(self.store, made))
            raise

    # --- taking up again -----------------------------------------------------------------------------------------

    async def fetch(self, purchase: Purchase, listen: Listen = ignore, *, patience_s: float | None = None) -> Purchase:
        """Bring in what is missing: from the wallet, the provider's stream, the ledger. Raises a PurchaseError."""
        return await self.fetching.fetch(purchase, listen, patience_s=patience_s)

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
