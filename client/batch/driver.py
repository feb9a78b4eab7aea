"""A batch at work. Rule: what the board decides is on disk before it goes out, and what became of it before it is told.

One loop asks the board what to do; every lease that is taken, drawn under or settled is a task beside it. A provider
that is out of reach for too long is given up: nothing more is signed for it, and its pictures go on elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path

from gpufair.client.batch import events as ev
from gpufair.client.batch import records, stalls
from gpufair.client.batch.atwork import AtWork, now, take_lease
from gpufair.client.batch.board import Board
from gpufair.client.batch.decisions import Close, Decision, Drop, Order, Take
from gpufair.client.batch.lanes import Lane, LaneState
from gpufair.client.batch.records import Batch
from gpufair.client.batch.stalls import Stalls
from gpufair.client.batch.tries import Listen, Tries
from gpufair.client.buyer import Buyer
from gpufair.client.failures import (
    CheatedError,
    DeclinedError,
    FundsError,
    JobFailedError,
    LeaseOverError,
    PurchaseError,
    UnreachableError,
)
from gpufair.client.market.wish import Wish
from gpufair.client.session.events import Event
from gpufair.client.wallet import budget, purchases
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol.errors import FairError, Fault, LocalError

TICK_S = 0.25
LOOK_AGAIN_S = 20.0
"""How often the market is asked who has come, and what has changed."""
KEY_S = 20.0
"""How long a provider may keep the key of a picture that was signed for before it is given up."""
KEYS_S = 15.0
"""How long to look for a key that was paid for, of a provider that is lost, before its picture is drawn elsewhere."""


def ignore(_event: ev.BatchEvent) -> None:
    """Listen to nothing."""


def quiet(_event: Event) -> None:
    """Nothing in a settlement is news to a batch."""


class Driver:
    """Draws one batch: `run` until all is done, nobody is left to ask, or somebody says stop."""

    def __init__(
        self, buyer: Buyer, batch: Batch, wishes: list[Wish], found: Stalls, *, hedge: bool, listen: Listen
    ) -> None:
        self.batch = batch
        self.board = Board(found.items, batch.row.budget, hedge=hedge)
        self.board.market(found.sellers)
        self._buyer = buyer
        self._wishes = wishes
        self._stalls = found
        self._listen = listen
        self._tries = Tries(buyer, batch, self.board, wishes, listen)
        self._at_work: dict[int, AtWork] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._bug: BaseException | None = None
        self._looked_s = 0.0

    @property
    def folder(self) -> Path:
        """Where the batch's files go."""
        return Path(self.batch.row.folder)

    # --- the loop ------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Go on until every picture is here or given up, nobody is left to ask, or `stop` is set; then settle."""
        self._looked_s = now()
        try:
            while not (self.board.is_over or self.board.is_stuck or (stop is not None and stop.is_set())):
                for decision in self.board.next(now()):
                    self._carry_out(decision)
                self._look_after()
                await self._something()
        finally:
            await self._wind_up()
        self._check()

    def adopt(self, lane: Lane, at_work: AtWork) -> None:
        """Go on with a lane that the board has taken up; to be called before `run`."""
        self._at_work[lane.number] = at_work

    def follow(self, lane: Lane, place: int, job: bytes) -> None:
        """See a picture through that was ordered before."""
        at = self._at_work[lane.number]
        at.jobs[place] = job
        waiting = at.opened.follow(job, at.hear)
        at.tasks[place] = self._spawn(self._see_through(at, place, waiting))

    def let_go(self, lease: LeaseRow) -> None:
        """Have what is held for a lease from before given back, beside everything else."""
        if not budget.is_closed(lease):
            self._spawn(self._buyer.carrying.let_go(lease))

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Take(lane):
                self._spawn(self._take(lane))
            case Order(lane, place, second):
                self._order(lane, place, second=second)
            case Drop(lane, place):
                self._drop(lane, place)
            case Close(lane):
                self._spawn(self._close(lane))

    def _look_after(self) -> None:
        for lane in self.board.going:
            if any(one.signed and now() - one.signed > KEY_S for one in lane.tries):
                self._lose(lane, f"a picture was paid for, and its key has not come for {KEY_S:g} s")
        if self.board.waiting and now() - self._looked_s > LOOK_AGAIN_S:
            self._looked_s = now()
            self._spawn(self._look_again())

    async def _something(self) -> None:
        """Wait until something has happened, a while at most."""
        try:
            async with asyncio.timeout(TICK_S):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()
        self._check()

    def _check(self) -> None:
        if self._bug is not None:
            raise self._bug

    def _spawn(self, work: Coroutine[None, None, object]) -> asyncio.Task[None]:
        async def carried() -> None:
            try:
                await work
            except Exception as error:
                self._bug = self._bug or error  # raised by the loop, which ends everything in order
            finally:
                self._changed.set()

        task = asyncio.ensure_future(carried())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look_again(self) -> Stalls:
        """Ask the market anew; where that answers nothing, whoever was there before is still asked."""
        with suppress(PurchaseError):
            self._stalls = await stalls.find(self._buyer, self._wishes)
            self.board.market(self._stalls.sellers)
        return self._stalls

    async def _wind_up(self) -> None:
        """Stop what is under way and settle; what was delivered is paid."""
        while self.board.going or self._tasks:
            for lane in self.board.going:
                lane.state = LaneState.CLOSING
                self._spawn(self._close(lane))
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)

    # --- leases --------------------------------------------------------------------------------------------------

    async def _take(self, lane: Lane) -> None:
        did = lane.seller.did
        try:
            opened = await take_lease(self._buyer, self.batch.row, lane, self._stalls, self._look_again)
        except FairError as error:
            self.board.lost(lane, 0, now())
            self._listen(ev.LaneRefused(did, error.what))
            return
        self._at_work[lane.number] = AtWork(lane, opened)
        lane.cap = purchases.lease(self._buyer.store, opened.id).cap  # a counter-offer may have been for less
        self.board.opened(lane, now())
        self._listen(ev.LaneOpened(did, lane.cap))

    async def _close(self, lane: Lane) -> None:
        at = self._at_work[lane.number]
        await at.cancel_all()
        signed = [one.place for one in list(lane.tries) if not self._tries.settle(at, one.place)]
        await at.opened.close()
        for place in signed:
            self._tries.settle(at, place)
        self._settled(lane, at)

    def _lose(self, lane: Lane, why: str) -> None:
        if lane.state is LaneState.OPEN:
            self.board.fenced(lane, now())
            self._spawn(self._give_up(lane, why))

    async def _give_up(self, lane: Lane, why: str) -> None:
        """Fence a lane, and give its pictures back; those that were signed for only once their keys were looked for."""
        at, places = self._at_work[lane.number], [one.place for one in lane.tries]
        records.over(self._buyer.store, at.opened.id)
        await at.cancel_all()
        self._listen(ev.LaneLost(lane.seller.did, why, len(places)))
        signed = [place for place in places if not self._tries.settle(at, place)]
        self._changed.set()
        await at.opened.close()  # whoever is paid shows its keys to the ledger
        signed = [place for place in signed if not self._tries.settle(at, place)]
        deadline = now() + KEYS_S
        while signed and now() < deadline:
            await asyncio.sleep(TICK_S)
            await self._buyer.settling.look(at.opened.session, quiet)
            signed = [place for place in signed if not self._tries.settle(at, place)]
        for place in signed:
            self._tries.doubt(at, place)
            await self._look_again_at(place)
        self._settled(lane, at)

    async def _look_again_at(self, place: int) -> None:
        """A picture may be signed for elsewhere now: have lanes that brought it already do so."""
        for lane in self.board.lanes_of(place):
            await self._at_work[lane.number].opened.look_again()

    def _settled(self, lane: Lane, at: AtWork) -> None:
        """A lease is closed, as far as that goes today, and the rest of its cap given back."""
        cost = records.over(self._buyer.store, at.opened.id)
        self.board.lost(lane, cost, now(), blame=False)
        if budget.is_closed(purchases.lease(self._buyer.store, at.opened.id)):
            self._listen(ev.LaneSettled(lane.seller.did, lane.done, cost))

    # --- pictures ------------------------------------------------------------------------------------------------

    def _order(self, lane: Lane, place: int, *, second: bool) -> None:
        at = self._at_work[lane.number]
        wish = self._tries.begin(at, place, second=second)
        at.tasks[place] = self._spawn(self._see_through(at, place, at.draw(place, wish)))

    def _drop(self, lane: Lane, place: int) -> None:
        at = self._at_work[lane.number]
        self._tries.drop(at, place)
        if (task := at.tasks.get(place)) is not None:
            task.cancel()

    async def _see_through(self, at: AtWork, place: int, work: Coroutine[None, None, object]) -> None:
        """Wait for a picture, and say what became of it."""
        try:
            await work
        except asyncio.CancelledError:
            if at.take(place):  # dropped: it was bought elsewhere
                self._tries.nothing(at, place, "", blame=False)
            raise
        except (LeaseOverError, UnreachableError, CheatedError) as error:
            self._lose(at.lane, error.what)
        except (DeclinedError, JobFailedError, FundsError, LocalError) as error:
            if isinstance(error, LocalError) and error.fault is not Fault.INSUFFICIENT_FUNDS:
                raise
            if not self._tries.settle(at, place, error.what, blame=True):
                self._lose(at.lane, error.what)
            at.take(place)
        else:
            at.take(place)
            self._tries.settle(at, place)
