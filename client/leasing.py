"""Many jobs under one lease. Rule: one conversation carries them all; each job's caller gets its own pictures or error.

A lease is bid for, funded and settled once, however many pictures are bought under it. As many jobs are under way at a
time as the provider lets queue; more of them wait here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field

from gpufair.client.buyer import Buyer
from gpufair.client.carrying import ignore
from gpufair.client.endings import ended, later
from gpufair.client.failures import CheatedError, DeclinedError, FundsError, LeaseOverError, UnreachableError
from gpufair.client.holding import Holding
from gpufair.client.market.adapters import pick_adapters
from gpufair.client.market.continued import Continued
from gpufair.client.market.plan import Plan
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.client.session.talk import CLOSING_S, Listen, Talk
from gpufair.client.wallet import purchases
from gpufair.client.wallet.deliveries import DeliveryKey
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wallet.store import JobRow
from gpufair.protocol import limits
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.errors import FairError, PeerError
from gpufair.protocol.lifecycle import JOB, LIVE, JobState
from gpufair.protocol.messages import Spec, Up
from gpufair.protocol.pricing import Quote, quote, smallest_window
from gpufair.protocol.units import show

_SAY_S = 1.0
"""How long a caller that is cancelled itself takes to say so to the provider."""


@dataclass
class _Caller:
    """Who waits for a job, and until when."""

    listen: Listen
    over: asyncio.Event = field(default_factory=asyncio.Event)


class OpenLease:
    """A funded lease with its conversation: `open`, any number of `buy`, `close`.

    Its provider is given up, and all that is under way with it, after `give_up_s` out of reach.
    """

    def __init__(self, buyer: Buyer, lease: bytes, plan: Plan, *, give_up_s: float = limits.LOST_MS / 1_000) -> None:
        self.id = lease
        self.plan = plan
        self._buyer = buyer
        self.session = Session(buyer.desk, buyer.store, lease)
        self._talk = Talk(self.session, lambda: buyer.peers.at(plan.choice.record), self._heard, give_up_s=give_up_s)
        self._callers: dict[bytes, _Caller] = {}
        self._holding = Holding()
        self._room = asyncio.Semaphore(min(limits.JOBS_IN_FLIGHT_MAX, max(1, plan.choice.offer.doc.queue_free)))
        self._why = ""
        self._cheated = False
        self._going: asyncio.Task[bool] | None = None

    # --- its beginning and its end -------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin the conversation."""
        self._going = asyncio.ensure_future(self._talk.until(self._is_distrusted, self._waits_for_keys))
        self._going.add_done_callback(lambda _task: self._release_all())

    async def close(self) -> None:
        """Have the provider settle, and the rest of the budget given back; jobs under way end with it."""
        if self._going is not None:
            await self._talk.order(self.session.finish().ups, again=True)
            await asyncio.wait((self._going,), timeout=CLOSING_S)
            self._going.cancel()
            await asyncio.gather(self._going, return_exceptions=True)  # the jobs that it cost have told of its failure
        await self._buyer.carrying.let_go(purchases.lease(self._buyer.store, self.id))
        await self._buyer.settling.settle(self.session, ignore)

    @property
    def left(self) -> int:
        """Micro-credits of the budget that no job has been promised."""
        account = self.session.account()
        return account.lease.cap - account.committed

    async def look_again(self) -> None:
        """Sign for what came before and may be signed for only now: another try of the same picture came to nothing."""
        turn = self.session.look_again()
        for event in turn.events:
            self._heard(event)
        await self._talk.order(turn.ups)

    # --- buying --------------------------------------------------------------------------------------------------

    async def buy(self, wish: Wish, listen: Listen = ignore, *, job: bytes = b"") -> Purchase:
        """Buy what is wished, from the lease's provider and with its model. Raises a PurchaseError for other endings.

        What another job left undone is a wish too (`market.continued`). LeaseOverError: take another lease. FundsError:
        the budget, or the window, is too small for this job. A caller that is cancelled has its job cancelled too.
        `job` is its id, for whoever has written that down already.
        """
        wish.check()
        deadline_ms = self._buyer.config.deadline_ms
        async with self._room:
            job, caller, ups = self._place(wish, listen, deadline_ms, job)
            return await self._see_through(job, caller, deadline_ms, ups)

    def follow(self, job: bytes, listen: Listen = ignore) -> Coroutine[None, None, Purchase]:
        """See a job through that was ordered before: to be awaited; called before `open`, so that no word is missed."""
        caller = self._callers[job] = _Caller(listen)
        self._release(job, caller)
        return self._see_through(job, caller, self._buyer.config.deadline_ms, [])

    async def _see_through(self, job: bytes, caller: _Caller, deadline_ms: int, ups: list[Up]) -> Purchase:
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                await self._talk.order(ups)
                await caller.over.wait()
        except TimeoutError as error:
            await self._cancel(job)
            what = f"after {deadline_ms // 1000} s the job is not done"
            raise UnreachableError(what, hint=later(job), job=job) from error
        except asyncio.CancelledError:
            await self._cancel(job)
            raise
        finally:
            del self._callers[job]
        return await self._result(job)

    async def reserve(self, seconds: int) -> ev.WorkerReserved:
        """Have a warm worker held for this lease, for so many seconds more. See `Holding.order`."""
        self._check_open()
        return await self._holding.order(self.session, self._talk, seconds)

    def _place(self, wish: Wish, listen: Listen, deadline_ms: int, job: bytes) -> tuple[bytes, _Caller, list[Up]]:
        """Write the job down; what orders it. Nothing is awaited: whatever is said of the job finds its caller."""
        self._check_open()
        model, offer = self.plan.candidate.model, self.plan.choice.offer.doc
        adapters = pick_adapters(offer.adapters, wish.loras, model.digest)
        specs = wish.specs(model, adapters)
        spec = next((one for one in specs if one.precision is self.plan.spec.precision), specs[0])
        self._check_price(spec, wish.max_price)
        body = wish.body(model, spec, self._buyer.desk.random)
        every = self.plan.checkpoint_every if wish.checkpoint_every is None else wish.checkpoint_every
        before = wish.rest.before if isinstance(wish, Continued) else None
        turn = self.session.place(
            spec, body, deadline_ms=deadline_ms, preview_every=wish.preview_every, checkpoint_every=every,
            before=before, job=job,
        )  # fmt: skip
        placed = next(event for event in turn.events if isinstance(event, ev.JobPlaced))
        caller = self._callers[placed.job] = _Caller(listen)
        listen(placed)
        return placed.job, caller, turn.ups

    def _check_open(self) -> None:
        lease = purchases.lease(self._buyer.store, self.id)
        open_ = lease.state in LIVE and self._buyer.desk.now_ms() < lease.expires_ms
        if self._going is None or self._going.done() or not open_ or lease.distrust:
            why = lease.distrust or self._why or "its time is over"
            raise LeaseOverError(f"the lease takes no more jobs: {why}", hint="take another lease")

    def _check_price(self, spec: Spec, max_price: int | None) -> None:
        account = self.session.account()
        price: Quote = quote(spec, account.bid.sheet, first=account.first())
        left, window = account.lease.cap - account.committed, account.lease.window
        highest = self._buyer.config.max_price if max_price is None else max_price
        for wanted, limit, what, hint in (
            (price.total, highest, "the highest price", "raise max_price, or ask for fewer steps or pixels"),
            (price.total, left, "what is left of the lease's budget", "take another lease, with a larger budget"),
            (price.upfront, window, "what is paid before work", "take the lease with a higher `dearest`"),
            (
                smallest_window(spec, account.bid.sheet),
                window,
                "the credit window",
                "take the lease with a higher `dearest`",
            ),
        ):
            if limit is not None and wanted > limit:
                words = f"{show(wanted)} is asked; {what}: {show(limit)}"
                raise FundsError(words, wanted=wanted, limit=limit, hint=hint)

    async def _cancel(self, job: bytes) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_SAY_S):
                await self._talk.order(self.session.cancel(job).ups, again=True)

    async def _result(self, job: bytes) -> Purchase:
        """A job's pictures, or why they are not here; the ledger is asked first if the conversation is over."""
        purchase = purchases.by_id(self._buyer.store, self.id, job)
        if not purchase.is_whole and (why := self._talk.stalled.get(job)):
            raise UnreachableError(why, hint="what it had done is paid and here", job=job)
        if purchase.is_whole or self._going is None or not self._going.done():
            return ended(purchase)
        failure = None if self._going.cancelled() else self._going.exception()
        if failure is not None and not isinstance(failure, FairError):
            raise failure
        await self._buyer.settling.settle(self.session, ignore)
        purchase = purchases.by_id(self._buyer.store, self.id, job)
        if not purchase.is_whole:
            self._raise(failure, job)
        return ended(purchase)

    def _raise(self, failure: FairError | None, job: bytes) -> None:
        """Raise why a job is not done if that is the conversation's end, and not the job's own."""
        hint = later(job)
        if isinstance(failure, RemoteRefusal):
            raise DeclinedError(f"the provider refuses to go on: {failure.what}", hint=hint, job=job) from failure
        if isinstance(failure, PeerError):
            raise CheatedError(f"the provider breaks the protocol: {failure.what}", hint=hint, job=job) from failure
        if isinstance(failure, PeerUnreachable):
            raise UnreachableError(failure.what, hint=hint, job=job) from failure
        if failure is not None:
            raise failure
        if self._why:
            raise LeaseOverError(f"the lease ended before the job did: {self._why}", hint="take another lease", job=job)

    # --- what the conversation brings ----------------------------------------------------------------------------

    def _heard(self, event: ev.Event) -> None:
        match event:
            case ev.LeaseClosing(why):
                self._why = why
            case ev.Cheated():
                self._cheated = True
            case ev.ConnectionLost():
                for waiting in self._callers.values():
                    waiting.listen(event)
                return
        self._holding.heard(event)
        caller = self._callers.get(getattr(event, "job", b""))
        if caller is None:
            return
        caller.listen(event)
        if isinstance(event, ev.JobDeclined | ev.PictureOpened | ev.JobOver | ev.Cheated):
            self._release(event.job, caller)

    def _release(self, job: bytes, caller: _Caller) -> None:
        """Let the caller go on if nothing more will come: the job is over, and every picture we signed for is open."""
        with self._buyer.store.read() as rows:
            if _is_over(rows, self.id, job) and not _missing(rows, self.id, job):
                caller.over.set()

    def _release_all(self) -> None:
        for caller in self._callers.values():
            caller.over.set()

    def _is_distrusted(self) -> bool:
        return self._cheated

    def _waits_for_keys(self) -> bool:
        """Whether all that is under way is delivered, signed for, and not open."""
        with self._buyer.store.read() as rows:
            return bool(self._callers) and all(_missing(rows, self.id, job, whole=True) for job in self._callers)


def _is_over(rows: Rows, lease: bytes, job: bytes) -> bool:
    row = rows.get(JobRow, lease=lease, id=job)
    return row is not None and JOB.is_terminal(JobState(row.state))


def _missing(rows: Rows, lease: bytes, job: bytes, *, whole: bool = False) -> bool:
    """Whether a key is missing that we signed for; `whole`: and nothing else is."""
    found = rows.all(DeliveryKey, lease=lease, job=job)
    row = rows.get(JobRow, lease=lease, id=job)
    delivered = row is not None and row.state == JobState.DELIVERED and all(one.locked for one in found)
    return any(one.locked and not one.key for one in found) and (delivered or not whole)
