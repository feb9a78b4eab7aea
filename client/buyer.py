"""Buying over the network. Rule: every step is on disk before it goes out, so that it may be broken off anywhere.

What is left undone by a lost connection, a closed lid or Ctrl-C is taken up again by `fetch` with the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from gpufair.client.config import Config
from gpufair.client.endings import ended, later, stopped
from gpufair.client.failures import CheatedError, DeclinedError, JobFailedError, StoppedError, UnreachableError
from gpufair.client.ledgers import Ledgers
from gpufair.client.market.bidding import Bidding
from gpufair.client.market.choosing import Choices, choose
from gpufair.client.market.funding import Funding
from gpufair.client.market.leases import Leases
from gpufair.client.market.market import Market, gather
from gpufair.client.market.plan import Plan, check_price
from gpufair.client.market.wish import Wish
from gpufair.client.session.events import JobPlaced
from gpufair.client.session.session import Session
from gpufair.client.session.settling import Settling
from gpufair.client.session.talk import Listen, Talk
from gpufair.client.stopping import stopping, unless
from gpufair.client.wallet import purchases
from gpufair.client.wallet.bans import banned
from gpufair.client.wallet.budget import check_cap, room_today
from gpufair.client.wallet.purchase import Purchase, Standing
from gpufair.client.wallet.store import LeaseRow, PeerRow
from gpufair.protocol import limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import FairError, Fault, LocalError, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LIVE
from gpufair.protocol.messages import HoldOrder, NodeRecord, Up

_SPARE_MS = 5 * limits.MINUTE
"""How much longer than its job's deadline a lease lasts: for placing, paying and saying goodbye."""
_LET_GO_S = 10.0


def ignore(_event: object) -> None:
    """Listen to nothing."""


def _is_done(job: Standing) -> bool:
    return job.is_over or bool(job.distrust)


class Buyer:
    """One buyer's wallet, keys and connections at work. `peers` and `store` are closed by whoever opened them."""

    def __init__(self, desk: Desk, store: RowStore, peers: Peers, config: Config) -> None:
        self.desk = desk
        self.store = store
        self.peers = peers
        self.config = config
        self.ledgers = Ledgers(desk, peers)
        self.settling = Settling(desk, store, self.ledgers)

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
        return found

    def choose(self, market: Market, wish: Wish) -> Choices:
        """Who can fulfil a wish, the best first. Raises NoOfferError."""
        strategy = wish.strategy or self.config.strategy
        return choose(market, wish, default_model=self.config.model, strategy=strategy, bans=banned(self.store))

    async def plan(self, wish: Wish, *, budget: int = 0, dearest: int = 0) -> Plan:
        """What would be bought, affordable and allowed. Raises NoOfferError, FundsError, UnreachableError.

        `budget` is for a lease that carries many jobs like this one, pictures of up to `dearest` each.
        """
        wish.check()
        market = await self.market()
        choices = self.choose(market, wish)
        good = check_price(choices, wish, self.config, budget=budget)
        with self.store.read() as rows:
            now, totals = self.desk.now_ms(), [budget or choice.candidate.quote.total for choice in good]
            check_cap(rows, self.config.daily_cap, min(totals), now)
            room = room_today(rows, self.config.daily_cap, now)
            known = purchases.ledgers_used(rows) | {peer.did for peer in self.config.peers}
        trust = wish.trust_provider_ledger or self.config.trust_provider_ledger
        funding = Funding(
            self.ledgers, market.records.values(), trust_own=trust, known=known, budget=budget, only=wish.where.ledgers
        )
        affordable = [choice for choice, total in zip(good, totals, strict=True) if room is None or total <= room]
        paid = await funding.first_payable(affordable, self.desk.did)
        body = wish.body(choices.model, paid.choice.spec, self.desk.random)
        return Plan(wish, paid.choice, body, paid.ledger, paid.available, budget, dearest, paid.dropped)

    # --- buying --------------------------------------------------------------------------------------------------

    async def buy(self, plan: Plan, listen: Listen = ignore, *, stop: asyncio.Event | None = None) -> Purchase:
        """Lease, hold, job, pictures, settlement. Raises a PurchaseError for every other ending.

        Once `stop` is set the job is cancelled and all is settled; StoppedError then says what is here all the same.
        """
        stop = stop or asyncio.Event()
        lasts_ms = self.config.deadline_ms + _SPARE_MS
        lease, plan = await self.lease(plan, lasts_ms=lasts_ms, stop=stop)
        session = Session(self.desk, self.store, lease)
        turn = session.place(
            plan.spec, plan.body, deadline_ms=self.config.deadline_ms, preview_every=plan.wish.preview_every
        )
        for event in turn.events:
            listen(event)
        job = next(event.job for event in turn.events if isinstance(event, JobPlaced))
        try:
            return await self._carry_through(session, job, listen, deadline_ms=self.config.deadline_ms, stop=stop)
        except (JobFailedError, UnreachableError) as error:
            if stop.is_set():
                raise stopped(purchases.by_id(self.store, lease, job)) from error
            raise

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
                await self.let_go(purchases.lease(self.store, made))
            raise

    # --- taking up again -----------------------------------------------------------------------------------------

    async def fetch(self, purchase: Purchase, listen: Listen = ignore, *, patience_s: float | None = None) -> Purchase:
        """Bring in what is missing: from the wallet, the provider's stream, the ledger. Raises a PurchaseError."""
        done = len(purchase.opened) == purchase.job.count
        session = Session(self.desk, self.store, purchase.lease.id)
        if done and (purchase.is_settled or self._is_shared(purchase.lease)):
            return purchase  # a lease that may carry more jobs is for whoever opened it to end
        if not done and purchase.lease.state in LIVE:
            left = purchase.lease.expires_ms - self.desk.now_ms()
            if left > 0:
                deadline = min(left, int(patience_s * 1000)) if patience_s is not None else left
                return await self._carry_through(session, purchase.job.id, listen, deadline_ms=deadline)
        if done:
            await self.let_go(purchase.lease)
        else:
            await self._ask_for_keys(session, purchase, listen)
        await self.settling.settle(session, listen)
        return ended(purchases.by_id(self.store, purchase.lease.id, purchase.job.id))

    async def cancel(self, purchase: Purchase, listen: Listen = ignore) -> Purchase:
        """Stop a job; what was delivered stays payable. Raises LocalError if it is over already."""
        if purchase.is_over or purchase.lease.state not in LIVE:
            what = f"the job is {purchase.job.state}: there is nothing to cancel"
            raise LocalError(Fault.CONFLICT, what, hint="see: gpufair show " + purchase.job.id.hex()[:12])
        session = Session(self.desk, self.store, purchase.lease.id)
        say = session.cancel(purchase.job.id).ups
        await self._talk(session, purchase.job.id, listen, deadline_ms=limits.MINUTE, say=say)
        await self.settling.settle(session, listen)
        return purchases.by_id(self.store, purchase.lease.id, purchase.job.id)

    async def settle_open(self, *, young_ms: int = limits.MINUTE) -> list[LeaseRow]:
        """Let go of what no job needs, then ask the ledgers, once each, about every lease that is not settled.

        Returns those that still are not. `young_ms`: see `purchases.unneeded`.
        """
        for lease in purchases.unneeded(self.store, self.desk.now_ms(), young_ms=young_ms):
            await self.let_go(lease)
        return await self.settling.sweep()

    async def let_go(self, lease: LeaseRow) -> None:
        """Have the rest of a hold given back that no job needs: only the provider can end it before its time.

        Nothing is lost if it can't be reached: the hold ends by itself at its expiry.
        """
        if lease.state not in purchases.ALIVE or not lease.order:
            return
        record = self._record(lease.id)
        with suppress(FairError, TimeoutError):
            async with asyncio.timeout(_LET_GO_S):
                peer = await self.peers.at(record)
                if not lease.hold:
                    ledger = await self.ledgers.meet(purchases.ledger_of(lease))
                    order = from_bytes(lease.order, HoldOrder)
                    if Leases(self.desk, self.store).held(lease.id, await ledger.ledger.place_hold(order.envelope)):
                        return
                await peer.market.fund(purchases.hold(self.store, lease.id))
                session = Session(self.desk, self.store, lease.id)
                await Talk(session, lambda: self.peers.at(record), ignore).until(lambda: True, lambda: False)

    # --- inside --------------------------------------------------------------------------------------------------

    async def _carry_through(
        self, session: Session, job: bytes, listen: Listen, *, deadline_ms: int, stop: asyncio.Event | None = None
    ) -> Purchase:
        try:
            finished = await self._talk(session, job, listen, deadline_ms=deadline_ms, stop=stop)
        except PeerError as error:
            # Whatever it did: what we hold is safe, and what we paid for may be learnt from the ledger.
            await self.settling.settle(session, listen)
            purchase = purchases.by_id(self.store, session.lease, job)
            if len(purchase.opened) == purchase.job.count:
                return purchase
            hint = "nothing more will be paid" if purchase.is_settled else later(job)
            if isinstance(error, RemoteRefusal):
                raise DeclinedError(f"the provider refuses to go on: {error.what}", hint=hint, job=job) from error
            raise CheatedError(f"the provider breaks the protocol: {error.what}", hint=hint, job=job) from error
        purchase = purchases.by_id(self.store, session.lease, job)
        if not finished and len(purchase.opened) < purchase.job.count:
            await self._ask_for_keys(session, purchase, listen)
        await self.settling.settle(session, listen)
        return ended(purchases.by_id(self.store, session.lease, job))

    async def _talk(
        self,
        session: Session,
        job: bytes,
        listen: Listen,
        *,
        deadline_ms: int,
        say: Sequence[Up] = (),
        stop: asyncio.Event | None = None,
    ) -> bool:
        record = self._record(session.lease)

        def now() -> Standing:
            return purchases.standing(self.store, session.lease, job)

        talk = Talk(session, lambda: self.peers.at(record), listen)
        try:
            async with asyncio.timeout(deadline_ms / 1000) as limit:
                with stopping(stop, lambda: talk.order(session.cancel(job).ups, again=True), limit):
                    return await talk.until(lambda: _is_done(now()), lambda: now().waits_for_key, say=say)
        except TimeoutError as error:
            what = f"after {deadline_ms // 1000} s the job is still {now().state}"
            raise UnreachableError(what, hint=later(job), job=job) from error
        except PeerUnreachable as error:
            raise UnreachableError(error.what, hint=later(job), job=job) from error

    async def _ask_for_keys(self, session: Session, purchase: Purchase, listen: Listen) -> None:
        """Ask the provider once more for deliveries that are paid for and not open; the ledger is asked later."""
        try:
            peer = await self.peers.at(self._record(session.lease))
            for picture in purchase.pictures:
                if picture.locked and not picture.is_open:
                    await self.settling.refetch(session, peer, purchase.job.id, picture.index, listen)
        except (PeerError, PeerUnreachable):
            return

    def _is_shared(self, lease: LeaseRow) -> bool:
        with self.store.read() as rows:
            return purchases.is_shared(rows, lease)

    def _record(self, lease: bytes) -> Signed[NodeRecord]:
        with self.store.read() as rows:
            return from_bytes(purchases.lease_row(rows, lease).record, NodeRecord)
