"""Asking a provider again: one that answers without end is not listened to for ever."""

import asyncio
from types import SimpleNamespace

import pytest

from gpufair.client.session import settling
from gpufair.client.session.settling import Settling
from gpufair.protocol.edge.status import PeerUnreachable
from gpufair.protocol.messages import Chunk


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
