"""Carrying one job through, over the network. Rule: whatever breaks, the wallet is whole, and the ledger is asked.

The session decides and the talk speaks; this says how long for, and what follows when one of them gives up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from gpufair.client.endings import ended, later
from gpufair.client.failures import CheatedError, DeclinedError, UnreachableError
from gpufair.client.ledgers import Ledgers
from gpufair.client.market.leases import Leases
from gpufair.client.session import talk as talking
from gpufair.client.session.session import Session
from gpufair.client.session.settling import Settling
from gpufair.client.session.talk import Listen, Talk
from gpufair.client.stopping import stopping
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchase import Checkpoint, Purchase, Standing
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import FairError, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import HoldOrder, NodeRecord, Up

_LET_GO_S = 10.0


def ignore(_event: object) -> None:
    """Listen to nothing."""


class Carrying:
    """Brings jobs to their ends, and leases to theirs."""

    def __init__(self, desk: Desk, store: RowStore, peers: Peers, ledgers: Ledgers, settling: Settling) -> None:
        self._desk = desk
        self._store = store
        self._peers = peers
        self._ledgers = ledgers
        self._settling = settling

    async def through(
        self,
        session: Session,
        job: bytes,
        listen: Listen,
        *,
        deadline_ms: int,
        stop: asyncio.Event | None = None,
        give_up_s: float | None = None,
    ) -> Purchase:
        """Talk until a job is over, or for so long, and settle its lease. Raises a PurchaseError if it isn't whole.

        UnreachableError where the provider is given up: after `give_up_s` (a minute) without an answer, or because the
        job got no further. Somebody else may do it then.
        """
        try:
            finished = await self.talk(session, job, listen, deadline_ms=deadline_ms, stop=stop, give_up_s=give_up_s)
        except PeerError as error:
            # Whatever it did: what we hold is safe, and what we paid for may be learnt from the ledger.
            await self._settling.settle(session, listen)
            purchase = purchases.by_id(self._store, session.lease, job)
            if purchase.is_whole:
                return purchase
            hint = "nothing more will be paid" if purchase.is_settled else self._later(session.lease, job)
            if isinstance(error, RemoteRefusal):
                raise DeclinedError(f"the provider refuses to go on: {error.what}", hint=hint, job=job) from error
            raise CheatedError(f"the provider breaks the protocol: {error.what}", hint=hint, job=job) from error
        purchase = purchases.by_id(self._store, session.lease, job)
        if not finished and not purchase.is_whole:
            await self.ask_for_keys(session, purchase, listen)
        await self._settling.settle(session, listen)
        return ended(purchases.by_id(self._store, session.lease, job))

    async def talk(
        self,
        session: Session,
        job: bytes,
        listen: Listen,
        *,
        deadline_ms: int,
        say: Sequence[Up] = (),
        stop: asyncio.Event | None = None,
        give_up_s: float | None = None,
    ) -> bool:
        """Talk until nothing more will come of a job; False if only keys are missing that may never come.

        Raises UnreachableError after `deadline_ms`, where nobody answers, and for a job that got no further; PeerError.
        """
        record = self._record(session.lease)

        def now() -> Standing:
            return purchases.standing(self._store, session.lease, job)

        talk = Talk(session, lambda: self._peers.at(record), listen, give_up_s=give_up_s or talking.GIVE_UP_S)
        try:
            async with asyncio.timeout(deadline_ms / 1000) as limit:
                with stopping(stop, lambda: talk.order(session.cancel(job).ups, again=True), limit):
                    done = await talk.until(lambda: _is_done(now()), lambda: now().waits_for_key, say=say)
        except TimeoutError as error:
            what = f"after {deadline_ms // 1000} s the job is still {now().state}"
            raise UnreachableError(what, hint=self._later(session.lease, job), job=job) from error
        except PeerUnreachable as error:
            raise UnreachableError(error.what, hint=self._later(session.lease, job), job=job) from error
        if why := talk.stalled.get(job):
            raise UnreachableError(why, hint="what it had done is paid and here", job=job)
        return done

    async def ask_for_keys(self, session: Session, purchase: Purchase, listen: Listen) -> None:
        """Ask the provider once more for deliveries that are paid for and not open; the ledger is asked later."""
        try:
            peer = await self._peers.at(self._record(session.lease))
            for one in (*purchase.checkpoints, *purchase.pictures):
                if one.locked and not one.keyed:
                    step = one.step if isinstance(one, Checkpoint) else 0
                    await self._settling.refetch(session, peer, purchase.job.id, one.place, listen, step=step)
        except (PeerError, PeerUnreachable):
            return

    def _later(self, lease: bytes, job: bytes) -> str:
        """What is finished waits for its buyer until its lease is over."""
        return later(job, purchases.lease(self._store, lease).expires_ms - self._desk.now_ms())

    def _record(self, lease: bytes) -> Signed[NodeRecord]:
        with self._store.read() as rows:
            return from_bytes(purchases.lease_row(rows, lease).record, NodeRecord)

    async def let_go(self, lease: LeaseRow) -> None:
        """Have the rest of a hold given back that no job needs: only the provider can end it before its time.

        Nothing is lost if it can't be reached: the hold ends by itself at its expiry.
        """
        if lease.state not in purchases.ALIVE or not lease.order:
            return
        record = self._record(lease.id)
        with suppress(FairError, TimeoutError):
            async with asyncio.timeout(_LET_GO_S):
                peer = await self._peers.at(record)
                if not lease.hold:
                    ledger = await self._ledgers.meet(purchases.ledger_of(lease))
                    order = from_bytes(lease.order, HoldOrder)
                    if Leases(self._desk, self._store).held(lease.id, await ledger.ledger.place_hold(order.envelope)):
                        return
                await peer.market.fund(purchases.hold(self._store, lease.id))
                session = Session(self._desk, self._store, lease.id)
                await Talk(session, lambda: self._peers.at(record), ignore).until(lambda: True, lambda: False)


def _is_done(job: Standing) -> bool:
    return job.is_over or bool(job.distrust)
