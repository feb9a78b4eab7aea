"""A real node on loopback: TLS, gRPC and offices that record what they are asked. Nothing here is patched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gpufair.protocol import limits
from gpufair.protocol.addresses import Endpoint, Reach
from gpufair.protocol.edge import tls
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.envelope import Signed
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Bodies,
    Challenge,
    Chunk,
    Closing,
    Compare,
    Compared,
    Envelope,
    KeyReveal,
    NodeRecord,
    Pull,
    Role,
    SearchAnswer,
    SearchRequest,
    StatePiece,
    Tell,
    Told,
    Up,
)
from gpufair.provider.rpc.offices import Send
from gpufair.provider.rpc.server import NodeServer, serve

CLOCK = SystemClock()
RANDOM = SystemRandom()


def desk(seed: int) -> Desk:
    return Desk(KeySigner.from_seed(bytes([seed]) * 32), CLOCK, RANDOM)


@dataclass
class Card:
    """What a node says about itself; tests lie through it."""

    desk: Desk
    tls: tls.TlsIdentity = field(default_factory=tls.create)
    endpoints: tuple[str, ...] = ()
    certificate: bytes = b""  # another one than it shows, for a liar
    age_ms: int = 0

    def record(self) -> Signed[NodeRecord]:
        head = self.desk.broadcast_head()
        head = replace(
            head, issued_at_ms=head.issued_at_ms - self.age_ms, expires_at_ms=head.expires_at_ms - self.age_ms
        )
        shown = self.certificate or self.tls.certificate
        return self.desk.sign(
            NodeRecord(head, CLOCK.now_ms(), (Role.PROVIDER,), self.endpoints, shown, bytes(32), "test")
        )


@dataclass
class Offices:
    """All three offices in one; every call is noted, and `fail` is raised instead of answering."""

    card: Card
    seen: list[tuple[str, Any]] = field(default_factory=list)
    fail: BaseException | None = None
    answer: Envelope | None = None
    running: int = 0
    echo: int = 20
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def _note(self, name: str, value: Any) -> Envelope:
        self.seen.append((name, value))
        if self.fail is not None:
            raise self.fail
        return self.answer or self.card.record().envelope

    async def record(self) -> Envelope:
        return self.card.record().envelope

    async def publish(self, document: Envelope, source: str, heard: Reach) -> tuple[int, bool]:
        assert (source, heard) == ("ipv4:127.0.0.1", Reach.LOOPBACK)
        self._note("publish", document)
        return 7, True

    async def find_records(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        return [self._note("find_records", (dids, after))], "" if after else self.card.desk.did

    async def find_offers(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        return [self._note("find_offers", (dids, after))], "again"

    async def find_evidence(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        return [self._note("find_evidence", (dids, after))], ""

    async def search(self, asked: SearchRequest) -> SearchAnswer:
        return SearchAnswer(1, 1, (), (self._note("search", asked),))

    async def differ(self, asked: Compare) -> Compared:
        self._note("differ", asked)
        return Compared((), asked.branches, ())

    async def hear(self, told: Tell) -> Told:
        self._note("hear", told)
        return Told(len(told.headings))

    async def give(self, asked: Pull) -> Bodies:
        return Bodies((self._note("give", asked),))

    async def place(self, bid: Envelope, source: str) -> Envelope:
        assert source == "ipv4:127.0.0.1"
        return self._note("place", bid)

    async def fund(self, hold: Envelope) -> None:
        self._note("fund", hold)

    async def execute(self, up: AsyncIterator[Up], send: Send) -> None:
        """An echo: each message up is answered by `echo` chunks from as many tasks."""
        self.running += 1
        try:
            await send(Challenge(bytes(32)))
            async for message in up:
                self._note("execute", message)
                await asyncio.gather(*(send(Chunk(bytes(16), 0, n, b"x")) for n in range(self.echo)))
            await send(Closing("done"))
        finally:
            self.running -= 1
            self.ended.set()

    async def fetch(self, request: Envelope) -> AsyncIterator[Envelope | Chunk | KeyReveal]:
        yield self._note("fetch", request)
        yield Chunk(bytes(16), 0, 0, bytes(limits.CHUNK))
        yield KeyReveal(bytes(16), 0, bytes(32))

    async def audit(self, request: Envelope) -> AsyncIterator[Envelope | StatePiece]:
        yield self._note("audit", request)
        yield StatePiece(3, 0, bytes(limits.CHUNK))

    async def submit(self, order: Envelope) -> Envelope:
        return self._note("submit", order)

    async def ask(self, query: Envelope) -> Envelope:
        return self._note("ask", query)

    async def journal(self, query: Envelope) -> tuple[Sequence[bytes], Envelope]:
        return [bytes(32), bytes(500)], self._note("journal", query)


@dataclass
class House:
    """A node that runs, and connections to it."""

    offices: Offices
    server: NodeServer
    peers: Peers

    @property
    def card(self) -> Card:
        return self.offices.card

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.server.port)

    async def peer(self) -> Peer:
        return await self.peers.meet(str(self.endpoint))


@asynccontextmanager
async def house(card: Card | None = None, *, listen: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[House]:
    offices = Offices(card or Card(desk(1)))
    defaults: dict[str, Any] = {"directory": offices, "market": offices, "ledger": offices}
    server = serve(listen=listen, tls_identity=offices.card.tls, **(defaults | options))
    offices.card.endpoints = offices.card.endpoints or (f"127.0.0.1:{server.port}",)
    await server.start()
    try:
        async with Peers(CLOCK) as peers:
            yield House(offices, server, peers)
    finally:
        await server.stop(0)


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run one coroutine to its end within 20 seconds."""

    def runner(work: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(20):
                return await work

        return asyncio.run(bounded())

    return runner


@pytest.fixture
def a_house() -> Callable[..., Any]:
    return house


@pytest.fixture
def a_card() -> Callable[..., Card]:
    def make(seed: int = 1, **fields: Any) -> Card:
        return Card(desk(seed), **fields)

    return make


@pytest.fixture
def a_document() -> Callable[..., Envelope]:
    """An envelope of any kind, signed for real."""

    def make(kind: type[Any], *values: Any, seed: int = 2) -> Envelope:
        issuer = desk(seed)
        return issuer.sign(kind(issuer.head(desk(1).did), *values)).envelope

    return make
