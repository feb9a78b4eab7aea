"""Asking for a lease, over the network. Rule: each word is on disk before it goes out, and is repeated byte for byte.

What was written down is in `made`, newest last, so that whoever is broken off can let go of it. A provider that
declines is answered as `bargain` says; where there is nothing to agree on, the next one is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Protocol, TypeVar

from gpufair.client.endings import said
from gpufair.client.failures import DeclinedError, FundsError, PurchaseError, UnreachableError
from gpufair.client.ledgers import Ledgers
from gpufair.client.market.bargain import Bounds, Leave, price, reply
from gpufair.client.market.choosing import seller
from gpufair.client.market.leases import Leases, Terms
from gpufair.client.market.plan import Plan
from gpufair.client.wallet import purchases
from gpufair.protocol import limits
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import Fault
from gpufair.protocol.messages import Decline, Reason, ReasonCode
from gpufair.protocol.units import show

R = TypeVar("R")
Tell = Callable[[str, tuple[Reason, ...], str], None]
"""Told of each bid that was declined: by whom, why, and what comes of it."""

_RETRY_S = (0.2, 0.5, 1.0, 2.0)
_FUNDING_S = limits.FUNDING_TIMEOUT_MS / 1000 * 0.8
_PROVIDERS_MAX = 8
"""Providers that are bid to for one lease."""
_WAITS_S = (1.0, 3.0, 9.0)
"""How long is waited when all that could be asked say that it is only for now."""
_STALE = {ReasonCode.OFFER_SUPERSEDED, ReasonCode.OFFER_UNKNOWN}
"""The offer has been renewed, or the provider started anew and made other ones."""


class Again(Protocol):
    """Plans anew: at one provider only, or without some that declined."""

    def __call__(self, *, only: str = "", passed: Mapping[str, Reason] = ...) -> Awaitable[Plan]:
        """Raises PurchaseError where there is nothing to plan."""
        ...


@dataclass(frozen=True, slots=True)
class _Parting:
    """A provider was left without a lease. `for_now`: it may be otherwise in a moment."""

    error: PurchaseError
    for_now: bool = False


class Bidding:
    """One try to get a funded lease for a plan."""

    def __init__(
        self,
        leases: Leases,
        store: RowStore,
        peers: Peers,
        ledgers: Ledgers,
        *,
        tell: Tell = lambda _who, _why, _then: None,
    ) -> None:
        self._leases, self._store, self._peers, self._ledgers = leases, store, peers, ledgers
        self._tell = tell
        self.made: list[bytes] = []

    async def lease(
        self, plan: Plan, again: Again, bounds: Bounds, *, lasts_ms: int, idle_ms: int
    ) -> tuple[bytes, Plan]:
        """A funded lease and the plan that it is for. Raises DeclinedError, FundsError, UnreachableError.

        It is for the same job, with this provider or another one, and within the bounds.
        """
        passed: dict[str, Reason] = {}
        waits = iter(_WAITS_S)
        while True:  # ends: providers are passed, and waits used up
            found = await self._agree(plan, again, bounds, lasts_ms, idle_ms)
            if not isinstance(found, _Parting):
                return found
            who = plan.choice.offer.issuer
            passed[who] = (*found.error.reasons, Reason(ReasonCode.LOST, detail="it does not answer"))[0]
            following = await self._elsewhere(plan, again, bounds, passed)
            pause = next(waits, None) if following is None and found.for_now else None
            if pause is not None:
                self._tell(who, found.error.reasons, f"nobody else can do it: asking again in {pause:g} s")
                await asyncio.sleep(pause)
                passed.clear()
                following = plan
            if following is None or len(passed) >= _PROVIDERS_MAX:
                raise found.error
            plan = following

    # --- one provider --------------------------------------------------------------------------------------------

    async def _agree(
        self, plan: Plan, again: Again, bounds: Bounds, lasts_ms: int, idle_ms: int
    ) -> tuple[bytes, Plan] | _Parting:
        """Bid, and bid again, until there is a lease or nothing to agree on."""
        terms = _terms(plan, lasts_ms, idle_ms)
        for rounds in range(limits.COUNTERS_MAX + 1):
            try:
                peer, lease, decline = await self._place(plan, terms)
            except UnreachableError as error:
                return _Parting(error)
            if decline is None:
                try:
                    await self._fund(plan, terms, peer, lease)
                except RemoteRefusal as refusal:
                    return self._gave_back(plan, refusal)
                return lease, plan.at(terms.sheet) if terms.sheet is not None else plan
            found = await self._answer(plan, again, bounds, terms, decline, rounds)
            if isinstance(found, Leave):
                self._tell(plan.choice.offer.issuer, decline.reasons, f"leaving it: {found.why}")
                return _Parting(_declined(decline, found), found.for_now)
            plan, terms = found
            self._tell(plan.choice.offer.issuer, decline.reasons, f"bidding again: {show(price(plan.spec, terms))}")
        raise AssertionError("`reply` ends after COUNTERS_MAX rounds")

    async def _answer(
        self, plan: Plan, again: Again, bounds: Bounds, terms: Terms, decline: Decline, rounds: int
    ) -> tuple[Plan, Terms] | Leave:
        """What to say to a decline: another bid, under the offer that it names, or nothing."""
        counter, reasons = decline.would_accept, decline.reasons
        renewed = any(reason.code in _STALE for reason in reasons)
        renewed = renewed or (counter is not None and counter.offer not in (b"", plan.choice.offer.id))
        found = reply(plan.spec, terms, reasons, counter, bounds, rounds=rounds, renewed=renewed)
        if isinstance(found, Leave):
            return found
        if not renewed:
            return plan, found
        try:
            fresh = await again(only=plan.choice.offer.issuer)
        except PurchaseError as error:
            return Leave(f"its new offer is not to be had: {error.what}", for_now=True)
        if fresh.spec != plan.spec or counter is None or fresh.choice.offer.id != counter.offer:
            return Leave("its new offer is not to be had, or not for this job", for_now=True)
        return replace(fresh, body=plan.body, ledger=plan.ledger), found

    async def _place(self, plan: Plan, terms: Terms) -> tuple[Peer, bytes, Decline | None]:
        offer, record = plan.choice.offer, plan.choice.record
        peer = await patiently(lambda: self._peers.at(record))
        bid = self._leases.propose(offer, record, plan.spec.model, offer.doc.worker_images[0].digest, terms)
        self.made.append(bid.id)
        answer = await patiently(lambda: peer.market.place(bid.envelope))
        return peer, bid.id, self._leases.declined(bid.id, answer)

    async def _fund(self, plan: Plan, terms: Terms, peer: Peer, lease: bytes) -> None:
        ledger = await patiently(lambda: self._ledgers.meet(plan.ledger))
        order = self._leases.order_hold(lease)
        answer = await patiently(lambda: ledger.ledger.place_hold(order.envelope))
        reasons = self._leases.held(lease, answer)
        if reasons:
            what = f"the ledger does not reserve {show(terms.cap)}: {said(reasons)}"
            raise FundsError(what, wanted=terms.cap, limit=plan.available, reasons=reasons, hint="see: gpufair balance")
        hold = purchases.hold(self._store, lease)
        await patiently(lambda: peer.market.fund(hold))

    def _gave_back(self, plan: Plan, refusal: RemoteRefusal) -> _Parting:
        """The provider agreed, and somebody else paid first. Raises the refusal if it means something else."""
        if refusal.fault is not Fault.CONFLICT:
            raise refusal
        reason = Reason(ReasonCode.QUEUE_FULL, detail=refusal.what)
        self._tell(plan.choice.offer.issuer, (reason,), "leaving it: it gives the hold back")
        what, hint = f"the provider gives the hold back: {refusal.what}", "nothing was spent; try again soon"
        return _Parting(DeclinedError(what, hint=hint, reasons=(reason,)), for_now=True)

    # --- the others ----------------------------------------------------------------------------------------------

    async def _elsewhere(self, plan: Plan, again: Again, bounds: Bounds, passed: Mapping[str, Reason]) -> Plan | None:
        """The same job at the best provider that has not declined, if it costs no more than was agreed to."""
        try:
            fresh = await again(passed=passed)
        except PurchaseError:
            return None  # why the first ones declined says more
        if fresh.spec != plan.spec or fresh.candidate.quote.total > bounds.price_max:
            return None
        where, total = seller(fresh.choice), fresh.candidate.quote.total
        self._tell(plan.choice.offer.issuer, (), f"moving on to {where}, where it costs {show(total)}")
        return replace(fresh, body=plan.body)


def _terms(plan: Plan, lasts_ms: int, idle_ms: int) -> Terms:
    """What is bid first."""
    stake = plan.wish.stake
    return Terms(
        plan.cap, plan.window, plan.ledger.did, lasts_ms=lasts_ms, idle_ms=idle_ms, notice_ms=stake.notice_ms,
        bid_class=stake.bid_class, sheet=plan.candidate.sheet,
    )  # fmt: skip


def _declined(decline: Decline, left: Leave) -> DeclinedError:
    """Why there is no lease, in numbers, and why no other bid was made."""
    passing = left.for_now
    hint = "nothing was spent; " + ("try again soon" if passing else "`gpufair offers` shows who else sells")
    what = f"the provider declined: {said(decline.reasons)}; {left.why}"
    return DeclinedError(what, hint=hint, reasons=decline.reasons)


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
