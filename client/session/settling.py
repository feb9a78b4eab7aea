"""How a lease ends, over the network. Rule: only the ledger's signed word closes it, and only its own key's.

A provider that took money has shown its keys to the ledger: here they are asked for, and the pictures opened.
"""

from __future__ import annotations

import asyncio
from itertools import chain, repeat

from gpufair.client.ledgers import Ledgers
from gpufair.client.session import settlement
from gpufair.client.session.session import Session
from gpufair.client.session.talk import Listen
from gpufair.client.wallet import budget, purchases
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol.edge.channels import Peer
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import FairError, Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LeaseState
from gpufair.protocol.messages import Chunk, Envelope, Fetch, KeyReveal

Delivered = tuple[bytes, int, int]
"""Which delivery: job, picture, step."""
_POLL_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 2.0)
_SETTLE_S = 5.0
REFETCH_S = 120.0
"""How long a whole delivery may take to come again: bytes that trickle in are no reason to stay."""


class Settling:
    """Asks ledgers about holds, and providers about deliveries, until a lease is over."""

    def __init__(self, desk: Desk, store: RowStore, ledgers: Ledgers) -> None:
        self._desk = desk
        self._store = store
        self._ledgers = ledgers

    async def settle(self, session: Session, listen: Listen) -> bool:
        """Ask the ledger, for about five seconds, until it says that the hold is closed; whether it did."""
        try:
            async with asyncio.timeout(_SETTLE_S):
                for pause in chain(_POLL_S, repeat(_POLL_S[-1])):
                    if await self.look(session, listen):
                        return True
                    await asyncio.sleep(pause)
        except TimeoutError:
            pass  # the hold's own end will settle it; `sweep` looks again
        return False

    async def look(self, session: Session, listen: Listen) -> bool:
        """Ask the ledger once. Whether nothing is held any more; False too if the ledger does not answer in time."""
        lease = purchases.lease(self._store, session.lease)
        try:
            peer = await self._ledgers.meet(purchases.ledger_of(lease))
            answer = await self._ledgers.hold_state(peer, lease.id)
            if answer is None:
                return self._expire(lease.id, unknown=True)
            for event in session.on_hold_state(*answer).events:
                listen(event)
        except FairError:
            return self._expire(lease.id, unknown=False)
        return answer[0].doc.closed

    def _expire(self, lease: bytes, *, unknown: bool) -> bool:
        """End a lease that never got its hold, if its time is over."""
        with self._store.begin() as rows:
            return settlement.expire(rows, purchases.lease_row(rows, lease), self._desk.now_ms(), unknown=unknown)

    async def sweep(self) -> list[LeaseRow]:
        """Look once after every lease for which money may be held. Returns those that are still open.

        Leases that came to nothing before a hold was ordered just expire.
        """
        with self._store.begin() as rows:
            for lease in rows.all(LeaseRow, state=(LeaseState.PROPOSED, LeaseState.AGREED)):
                if not lease.order:
                    settlement.expire(rows, lease, self._desk.now_ms(), unknown=True)
            waiting = [lease for lease in rows.all(LeaseRow, order="created_ms") if budget.is_open(lease)]
        closed = {lease.id for lease in waiting if await self.look(self._session(lease), lambda _event: None)}
        return [lease for lease in waiting if lease.id not in closed]

    def _session(self, lease: LeaseRow) -> Session:
        return Session(self._desk, self._store, lease.id)

    async def refetch(
        self, session: Session, peer: Peer, job: bytes, picture: int, listen: Listen, *, step: int = 0
    ) -> None:
        """Ask the provider for a delivery again, key included. Raises PeerError, PeerUnreachable."""
        head = self._desk.head(peer.did, parent=session.lease)
        request = self._desk.sign(Fetch(head, session.lease, job, picture, step))
        try:
            async with asyncio.timeout(REFETCH_S):
                await self._key(session, peer, request.envelope, (job, picture, step), listen)
        except TimeoutError as error:
            raise PeerUnreachable("the provider's answer has no end", hint="ask the ledger later") from error

    @staticmethod
    async def _key(session: Session, peer: Peer, request: Envelope, delivery: Delivered, listen: Listen) -> None:
        async for part in peer.market.fetch_delivery(request):
            match part:
                case KeyReveal() if (part.job, part.picture, part.step) == delivery:
                    for event in session.on(part).events:
                        listen(event)
                case Chunk() | Envelope():
                    continue  # a locked delivery's ciphertext is in the wallet: it was there before the lock
                case KeyReveal():
                    raise PeerError(Fault.CONFLICT, "the provider sends the key of another delivery")
