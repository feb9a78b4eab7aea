"""Asking ledgers and providers again: no answer without an end is listened to for ever, no lease waits for ever."""

import asyncio
from types import SimpleNamespace

import pytest

from gpufair.client.ledgers import Ledgers
from gpufair.client.session import settling
from gpufair.client.session.settling import Settling
from gpufair.client.wallet import budget, purchases
from gpufair.protocol import limits
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import Chunk, HoldOrder


def test_a_delivery_without_an_end_is_given_up(deal, monkeypatch):
    monkeypatch.setattr(settling, "REFETCH_S", 0.05)
    d = deal()

    async def endless(_request):
        while True:
            await asyncio.sleep(0.001)
            yield Chunk(bytes(16), 0, 0, b"x")

    peer = SimpleNamespace(did=d.desks["provider"].did, market=SimpleNamespace(fetch_delivery=endless))
    asks = Settling(d.desks["client"], d.wallet, None)

    async def story():
        with pytest.raises(PeerUnreachable):
            await asks.refetch(d.session, peer, bytes(16), 0, print)

    asyncio.run(asyncio.wait_for(story(), 5))


def swept(d, *, reachable=True):
    """The leases that are still open once every ledger was asked; the wire to the deal's own is a function call."""

    async def meet(_address):
        if not reachable:
            raise PeerUnreachable("nobody is there")
        return SimpleNamespace(did=d.desks["ledger"].did, ledger=SimpleNamespace(ask=ask))

    async def ask(query):
        return d.ledger.ask(query)

    ledgers = Ledgers(d.desks["client"], SimpleNamespace(meet=meet))
    return [lease.id for lease in asyncio.run(Settling(d.desks["client"], d.wallet, ledgers).sweep())]


def state(d):
    return d.wallet_db.rows("SELECT state FROM leases ORDER BY rowid")[-1][0]


def test_an_order_that_never_came_to_its_ledger_is_not_asked_after_for_ever(agreed):
    """Neither while the order could still arrive, nor once the ledger says that it knows of no hold."""
    d = agreed()
    order = d.buying.order_hold(d.lease)
    d.clock.ms = order.doc.head.expires_at_ms + 2 * limits.SKEW_MS
    assert swept(d) == [d.lease], "a slow clock might still take it"
    assert swept(d, reachable=False) == [d.lease]
    d.clock.ms += 1
    assert swept(d, reachable=False) == [d.lease], "who doesn't answer may have it"
    assert state(d) == "agreed"
    assert swept(d) == []
    assert state(d) == "expired"
    lease = purchases.lease(d.wallet, d.lease)
    assert not budget.is_open(lease)
    with d.wallet.read() as rows:
        assert budget.at_stake(rows, lease, d.clock.ms) == 0


def test_a_ledger_that_is_gone_is_waited_for_until_the_holds_own_end(agreed):
    d = agreed()
    d.buying.order_hold(d.lease)
    d.clock.ms = purchases.lease(d.wallet, d.lease).hold_expires_ms + 2 * limits.SKEW_MS
    assert swept(d, reachable=False) == [d.lease]
    d.clock.ms += 1
    assert swept(d, reachable=False) == []
    assert state(d) == "expired"


def test_a_hold_whose_document_never_came_is_known_by_its_end(agreed):
    """The order did arrive and only the answer was lost: the ledger has the money, and says when it is back."""
    d = agreed()
    d.ledger.submit(d.buying.order_hold(d.lease).envelope)
    d.clock.ms = from_bytes(purchases.lease(d.wallet, d.lease).order, HoldOrder).doc.head.expires_at_ms + limits.HOUR
    assert swept(d) == [d.lease]
    d.clock.ms = purchases.lease(d.wallet, d.lease).hold_expires_ms + 1
    d.ledger.expire()
    assert swept(d) == []
    assert state(d) == "expired"
    assert budget.is_closed(purchases.lease(d.wallet, d.lease))


def test_a_funded_lease_never_expires_unasked(deal):
    d = deal()
    d.clock.ms = purchases.lease(d.wallet, d.lease).hold_expires_ms + limits.HOUR
    assert swept(d, reachable=False) == [d.lease]
    assert state(d) == "open"


def test_a_bid_that_came_to_nothing_expires_and_is_not_paid_for_any_more(agreed):
    d = agreed()
    d.clock.ms += limits.FUNDING_TIMEOUT_MS + 2 * limits.SKEW_MS
    assert swept(d) == []
    assert state(d) == "agreed"
    d.clock.ms += 1
    swept(d)
    assert state(d) == "expired"
    with pytest.raises(LocalError, match="expired"):
        d.buying.order_hold(d.lease)
