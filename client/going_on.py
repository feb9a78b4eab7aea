"""Going on elsewhere. Rule: a job that its provider leaves undone is finished by others, for no more than was allowed.

What was bought stays bought: each picture goes on from its newest checkpoint, or begins anew. From the moment that a
rest is ordered, the provider before gets no signature for it, whatever it still delivers (`wallet.sequels`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from gpufair.client.carrying import Carrying
from gpufair.client.endings import nowhere, stopped
from gpufair.client.failures import FundsError, PurchaseError, StoppedError, UnreachableError
from gpufair.client.market.continued import continued
from gpufair.client.market.plan import Plan
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.client.session.talk import Listen
from gpufair.client.wallet import purchases, remains, sequels
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wallet.remains import Rest
from gpufair.protocol import limits
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import FairError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import JobState

SPARE_MS = 5 * limits.MINUTE
"""How much longer than its job's deadline a lease lasts: for placing, paying and saying goodbye."""
LOST_S = limits.LOST_MS / 1_000
"""How long a provider may be out of reach while others could do its job."""


def idle(lasts_ms: int) -> int:
    """How long a lease for one job may be idle: what is finished waits for a buyer who is away until it is over."""
    return min(lasts_ms, limits.IDLE_LIMIT_MAX_MS)


class Market(Protocol):
    """Whoever finds sellers and makes leases with them: the buyer."""

    desk: Desk
    store: RowStore

    async def plan(self, wish: Wish) -> Plan:
        """What would be bought. Raises a PurchaseError if nothing can be."""
        ...

    async def lease(
        self, plan: Plan, *, lasts_ms: int, idle_ms: int, stop: asyncio.Event | None = None, listen: Listen = ...
    ) -> tuple[bytes, Plan]:
        """A funded lease. Raises a PurchaseError if there is none to be had."""
        ...


class GoingOn:
    """One piece of work on its way from provider to provider.

    `wish` says what those must have, `most_price` what all of it may cost, what is lost on the way included, and
    `until_ms` when it must be done.
    """

    def __init__(
        self,
        market: Market,
        carrying: Carrying,
        wish: Wish,
        *,
        most_price: int,
        until_ms: int,
        stop: asyncio.Event,
    ) -> None:
        self._market = market
        self._carrying = carrying
        self._most = most_price
        self._until_ms = until_ms
        self._stop = stop
        self._wish = wish
        self._lost: dict[str, str] = {}

    async def on(self, lease: bytes, job: bytes, why: PurchaseError, listen: Listen) -> Purchase:
        """Finish a job that ended with `why`. Raises `why`, or the newest such reason, where nobody can."""
        for _ in range(limits.GO_ON_MAX):
            work = purchases.by_id(self._market.store, lease, job)
            if work.is_whole:
                return work
            if self._stop.is_set():
                raise stopped(work) from why
            rest = self._rest(work, why)
            if rest is None:
                raise why
            self._lost.setdefault(self._who_had(rest), why.what)
            try:
                made, plan = await self._lease(work, rest, why, listen)
            except UnreachableError:
                # Nobody else does it, and the one that has it may come back.
                await self._wait(work.last, why, listen)
                continue
            try:
                await self._elsewhere(work, rest, made, plan, why, listen)
            except PurchaseError as error:
                why, self._lost[plan.choice.offer.issuer] = error, error.what
        raise why

    def _who_had(self, rest: Rest) -> str:
        """The provider that left it undone."""
        return purchases.lease(self._market.store, rest.before.lease).provider

    async def _wait(self, last: Purchase, why: PurchaseError, listen: Listen) -> None:
        """Go on with the provider that has the job, if it answers again before long. Raises a PurchaseError."""
        session, left_ms = Session(self._market.desk, self._market.store, last.lease.id), max(1, self._left_ms())
        try:
            await self._carrying.through(session, last.job.id, listen, deadline_ms=left_ms, stop=self._stop)
        except UnreachableError:
            raise why from None

    def _rest(self, work: Purchase, why: PurchaseError) -> Rest | None:
        """What is to be ordered next; None if there is nothing, no time, no money, or its buyer cancelled it."""
        given_up = isinstance(why, UnreachableError)  # then it was we who cancelled, as the job got no further
        if (work.state == JobState.CANCELLED and not given_up) or self._left_ms() <= 0 or work.spent >= self._most:
            return None
        left = remains.of(self._market.store, work.lease.id, work.job.id)
        return left[0] if left else None

    def _left_ms(self) -> int:
        return self._until_ms - self._market.desk.now_ms()

    async def _lease(self, work: Purchase, rest: Rest, why: PurchaseError, listen: Listen) -> tuple[bytes, Plan]:
        """A lease with the first provider that gives one. Raises `why`, with what is wrong, where nobody does."""
        while self._left_ms() > 0:
            wish = continued(rest, self._wish, max_price=self._most - work.spent, lost=dict(self._lost))
            try:
                plan = await self._market.plan(wish)
            except FairError as error:
                raise nowhere(why, error) from error
            try:
                lasts_ms = self._left_ms() + SPARE_MS
                return await self._market.lease(
                    plan, lasts_ms=lasts_ms, idle_ms=idle(lasts_ms), stop=self._stop, listen=listen
                )
            except StoppedError as error:
                raise stopped(work) from error
            except FundsError as error:
                raise nowhere(why, error) from error
            except FairError as error:
                self._lost[plan.choice.offer.issuer] = error.what
        raise why

    async def _elsewhere(
        self, work: Purchase, rest: Rest, lease: bytes, plan: Plan, why: PurchaseError, listen: Listen
    ) -> None:
        """Order a rest under its new lease and carry it through. Raises a PurchaseError if it doesn't get whole."""
        left_ms = max(1, self._left_ms())
        with self._market.store.read() as rows:
            offset = sequels.offset(rows, rest.before)
        listen(_told(work, rest, plan, why, self._who_had(rest), offset))
        session = Session(self._market.desk, self._market.store, lease)
        turn = session.place(
            rest.spec, rest.body, deadline_ms=left_ms, preview_every=rest.preview_every,
            checkpoint_every=plan.checkpoint_every, before=rest.before,
        )  # fmt: skip
        job = next(event.job for event in turn.events if isinstance(event, ev.JobPlaced))
        told = shifted(listen, work.job.id, offset)
        await self._carrying.through(session, job, told, deadline_ms=left_ms, stop=self._stop, give_up_s=LOST_S)


def _told(work: Purchase, rest: Rest, plan: Plan, why: PurchaseError, before: str, offset: int) -> ev.GoesOn:
    offer = plan.choice.offer
    profiles = offer.doc.profiles
    same = rest.profile in profiles if rest.profile and profiles else None
    return ev.GoesOn(work.job.id, why.what, before, offer.issuer, offset, rest.spec.done, rest.spec.steps, same)


def shifted(listen: Listen, job: bytes, offset: int) -> Listen:
    """A listener for a part of a piece of work: it hears of the pictures by their numbers in the whole."""

    def heard(event: ev.Event) -> None:
        match event:
            case (
                ev.StepDone()
                | ev.PreviewSeen()
                | ev.PictureLocked()
                | ev.PictureOpened()
                | ev.CheckpointLocked()
                | ev.CheckpointOpened()
            ):
                listen(replace(event, job=job, picture=offset + event.picture))
            case _:
                listen(event)

    return heard
