"""Taking up what was broken off. Rule: the wallet first, then the provider, then the ledger; nothing new is ordered."""

from __future__ import annotations

from contextlib import suppress

from gpufair.client.carrying import Carrying, ignore
from gpufair.client.endings import ended
from gpufair.client.failures import PurchaseError
from gpufair.client.session.session import Session
from gpufair.client.session.settling import Settling
from gpufair.client.session.talk import Listen
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LIVE


class Fetching:
    """Brings in what was ordered."""

    def __init__(self, desk: Desk, store: RowStore, carrying: Carrying, settling: Settling) -> None:
        self._desk = desk
        self._store = store
        self._carrying = carrying
        self._settling = settling

    async def fetch(
        self,
        purchase: Purchase,
        listen: Listen = ignore,
        *,
        patience_s: float | None = None,
        give_up_s: float | None = None,
    ) -> Purchase:
        """Bring in what is missing of a job and of all that went on with it. Raises a PurchaseError.

        `patience_s` is how long a provider may take, `give_up_s` how long it may be out of reach.
        """
        if not purchase.parts:
            return await self._own(purchase, listen, patience_s, give_up_s)
        for part in purchase.parts:
            with suppress(PurchaseError):  # the whole is judged below
                await self.fetch(part, listen, patience_s=patience_s, give_up_s=give_up_s)
        with suppress(PurchaseError):
            await self._own(purchase, listen, patience_s, give_up_s)
        return ended(self._again(purchase))

    async def _own(
        self, purchase: Purchase, listen: Listen, patience_s: float | None, give_up_s: float | None
    ) -> Purchase:
        """The same of one job under its own lease."""
        done, lease = purchase.is_whole, purchase.lease
        session = Session(self._desk, self._store, lease.id)
        if done and (purchase.is_settled or self._is_shared(lease)):
            return purchase  # a lease that may carry more jobs is for whoever opened it to end
        if not done and lease.state in LIVE:
            left = lease.expires_ms - self._desk.now_ms()
            if left > 0:
                deadline = min(left, int(patience_s * 1000)) if patience_s is not None else left
                return await self._carrying.through(
                    session, purchase.job.id, listen, deadline_ms=deadline, give_up_s=give_up_s
                )
        if done:
            await self._carrying.let_go(lease)
        else:
            await self._carrying.ask_for_keys(session, purchase, listen)
        await self._settling.settle(session, listen)
        return ended(self._again(purchase))

    def _again(self, purchase: Purchase) -> Purchase:
        return purchases.by_id(self._store, purchase.lease.id, purchase.job.id)

    def _is_shared(self, lease: LeaseRow) -> bool:
        with self._store.read() as rows:
            return purchases.is_shared(rows, lease)
