"""Directories that show whatever is put on them, over real gRPC, and a wallet that looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gpufair.client.market.market import Market, gather
from gpufair.client.wallet.store import open_wallet
from gpufair.protocol.addresses import Endpoint, PeerAddress, Reach
from gpufair.protocol.edge import tls
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.system import SystemClock
from gpufair.protocol.messages import Envelope
from gpufair.provider.rpc.server import serve

CLOCK = SystemClock()


@dataclass
class Shelf:
    """A directory that shows whatever is put on it."""

    seller: Any
    identity: tls.TlsIdentity = field(default_factory=tls.create)
    offers: list[Envelope] = field(default_factory=list)
    records: list[Envelope] = field(default_factory=list)
    evidence: list[Envelope] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Against whom evidence was asked for."""

    async def record(self) -> Envelope:
        return self.seller.record(CLOCK.now_ms(), tls_certificate=self.identity.certificate).envelope

    async def publish(self, _document: Envelope, _source: str, _heard: Reach) -> tuple[int, bool]:
        return 1, True

    async def find_records(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        return self.records, ""

    async def find_evidence(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        self.asked += dids
        return self.evidence, ""

    async def find_offers(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        return self.offers, ""


@pytest.fixture
def store() -> Any:
    opened = open_wallet(None)
    yield opened
    opened.close()


@pytest.fixture
def look(store: RowStore) -> Any:
    """What a buyer finds at these shelves, asked in one go; the same wallet every time."""

    async def body(shelves: tuple[Shelf, ...]) -> Market:
        servers = [serve(listen="127.0.0.1:0", tls_identity=s.identity, directory=s) for s in shelves]
        for server in servers:
            await server.start()
        try:
            async with Peers(CLOCK) as peers:
                addresses = [PeerAddress(Endpoint("127.0.0.1", server.port)) for server in servers]
                return await gather(peers, addresses, CLOCK, store)
        finally:
            for server in servers:
                await server.stop(0)

    return lambda *shelves: asyncio.run(body(shelves))


@pytest.fixture
def shelf(a_seller: Any) -> Any:
    return lambda seed=99: Shelf(a_seller(seed, CLOCK))
