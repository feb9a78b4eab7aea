"""Asking for a lease, over the network. Rule: each word is on disk before it goes out, and is repeated byte for byte.

What was written down is in `made`, newest last, so that whoever is broken off can let go of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import chain, repeat
from typing import TypeVar

from gpufair.client.endings import said
from gpufair.client.failures import DeclinedError, FundsError, UnreachableError
from gpufair.client.ledgers import Ledgers
from gpufair.client.market.leases import Leases, Terms
from gpufair.client.market.plan import Plan
from gpufair.client.wallet import purchases
from gpufair.protocol import limits
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.messages import ReasonCode
from gpufair.protocol.units import show

R = TypeVar("R")

_RETRY_S = (0.2, 0.5, 1.0, 2.0)
_FUNDING_S = limits.FUNDING_TIMEOUT_MS / 1000 * 0.8
_RESTALE_MAX = 2
_STALE = {ReasonCode.OFFER_SUPERSEDED, ReasonCode.OFFER_UNKNOWN}
"""The offer has been renewed, or the provider started anew and made other ones."""


class Bidding:
    """One try to get a funded lease for a plan."""

    def __init__(self, leases: Leases, store: RowStore, peers: Peers, ledgers: Ledgers) -> None:
        self._leases = leases
        self._store = store
        self._peers = peers
        self._ledgers = ledgers
        self.made: list[bytes] = []

    async def lease(
        self, plan: Plan, again: Callable[[], Awaitable[Plan]], *, lasts_ms: int, idle_ms: int
    ) -> tuple[bytes, Plan]:
        """A funded lease and the plan that it is for. Raises DeclinedError, FundsError, UnreachableError.

        An offer that was renewed meanwhile is taken if it costs no more: `again` looks for it.
        """
        approved = plan.candidate.quote.total
        for _ in range(_RESTALE_MAX):
            try:
                return await self._once(plan, lasts_ms, idle_ms), plan
            except DeclinedError as error:
                if not any(reason.code in _STALE for reason in error.reasons):
                    raise
                fresh = await again()
                if fresh.candidate.quote.total > approved:
                    raise
                plan = replace(fresh, body=plan.body)
        return await self._once(plan, lasts_ms, idle_ms), plan

    async def _once(self, plan: Plan, lasts_ms: int, idle_ms: int) -> bytes:
        terms = Terms(plan.cap, plan.window, plan.ledger.did, lasts_ms=lasts_ms, idle_ms=idle_ms)
        offer, record = plan.choice.offer, plan.choice.record
        peer = await patiently(lambda: self._peers.at(record))
        bid = self._leases.propose(offer, record, plan.spec.model, offer.doc.worker_images[0].digest, terms)
        self.made.append(bid.id)
        answer = await patiently(lambda: peer.market.place(bid.envelope))
        reasons = self._leases.answered(bid.id, answer)
        if reasons:
            hint = "nothing was spent; `gpufair offers` shows who else sells"
            raise DeclinedError(f"the provider declined: {said(reasons)}", hint=hint, reasons=reasons)
        await self._fund(plan, peer, bid.id)
        return bid.id

    async def _fund(self, plan: Plan, peer: Peer, lease: bytes) -> None:
        ledger = await patiently(lambda: self._ledgers.meet(plan.ledger))
        order = self._leases.order_hold(lease)
        answer = await patiently(lambda: ledger.ledger.place_hold(order.envelope))
        reasons = self._leases.held(lease, answer)
        if reasons:
            what = f"the ledger does not reserve {show(plan.cap)}: {said(reasons)}"
            raise FundsError(what, wanted=plan.cap, limit=plan.available, reasons=reasons, hint="see: gpufair balance")
        hold = purchases.hold(self._store, lease)
        await patiently(lambda: peer.market.fund(hold))


async def patiently(call: Callable[[], Awaitable[R]]) -> R:
    """Call again, with the same bytes, while nobody answers; for less than an unfunded lease lives."""
    failure = PeerUnreachable("no answer in time", hint="try again")
    try:
        async with asyncio.timeout(_FUNDING_S):
            for pause in chain(_RETRY_S, repeat(_RETRY_S[-1])):
                try:
                    return await call()
                except PeerUnreachable as error:
                    failure = error
                    if error.impostor:
                        break
                await asyncio.sleep(pause)
    except TimeoutError:
        pass  # the last failure says more
    raise UnreachableError(failure.what, hint=failure.hint) from failure
