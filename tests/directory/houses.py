"""Directories that exchange documents over gRPC on loopback: real servers, stores and connections, one process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gpufair.protocol.edge import tls
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.reaching import LookUp, look_up
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Envelope, NodeRecord, Role
from gpufair.protocol.ports import Clock
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.gossip import Gossip
from gpufair.provider.directory.office import DirectoryDesk
from gpufair.provider.directory.store import DirectoryStore
from gpufair.provider.rpc.gossiper import Gossiper
from gpufair.provider.rpc.publisher import Publisher
from gpufair.provider.rpc.roads import Roads
from gpufair.provider.rpc.server import serve

CLOCK, RANDOM = SystemClock(), SystemRandom()


class House:
    """One node that is a directory and nothing else; `listens` on a port that the machine gives, or on that one."""

    def __init__(self, seed: int, peers: Sequence[str] = (), *, find: LookUp = look_up, clock: Clock = CLOCK) -> None:
        self.desk = Desk(KeySigner.from_seed(seed.to_bytes(32, "big")), clock, RANDOM)
        self.tls = tls.create()
        self.directory = Directory(DirectoryStore(None), clock)
        self.gossip = Gossip(self.did, self.directory, clock, RANDOM)
        self.office = DirectoryDesk(self.directory, self.record, self.gossip)
        self.peers = Peers(clock)
        self.publisher = Publisher(lambda: (self._own,), self.office, self.peers, peers, RANDOM)
        self.roads = Roads(self.peers, self.office, self.publisher.named, find)
        self.port = 0
        self._exits = contextlib.AsyncExitStack()

    @property
    def did(self) -> str:
        return self.desk.did

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def record(self, *endpoints: str) -> Envelope:
        head, where = self.desk.broadcast_head(), endpoints or (self.address,)
        certificate = self.tls.certificate
        return self.desk.sign(
            NodeRecord(head, self.desk.now_ms(), (Role.DIRECTORY,), where, certificate, bytes(32), "test")
        ).envelope

    async def start(self, port: int = 0) -> None:
        server = serve(listen=f"127.0.0.1:{port}", tls_identity=self.tls, directory=self.office)
        self.port, self._own = server.port, b""
        self._own = self.record()
        await server.start()
        self._exits.callback(self.office.close)
        self._exits.push_async_callback(self.peers.close)
        self._exits.push_async_callback(server.stop, 0)
        self._exits.push_async_callback(self._end)
        gossiper = Gossiper(self.office, self.roads, RANDOM)
        self.tasks = [asyncio.create_task(gossiper.run())]
        await self.publisher.round()
        self.tasks.append(asyncio.create_task(self.publisher.run()))

    async def _end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def stop(self) -> None:
        await self._exits.aclose()

    def has(self, did: str) -> bool:
        return any(one.signatures[0].keyid == did for one in self.directory.find_records((did,))[0])


def stranger(seed: int) -> Envelope:
    """The record of somebody who only publishes."""
    desk = Desk(KeySigner.from_seed(seed.to_bytes(32, "big")), CLOCK, RANDOM)
    return desk.sign(
        NodeRecord(desk.broadcast_head(), 1, (Role.PROVIDER,), (), CERTIFICATE, bytes(32), "test")
    ).envelope


CERTIFICATE = tls.create().certificate


@asynccontextmanager
async def houses(*made: House) -> AsyncIterator[None]:
    """Start them in order, and end them all."""
    async with contextlib.AsyncExitStack() as exits:
        for house in made:
            exits.push_async_callback(house.stop)
            await house.start()
        yield


async def until(holds: Callable[[], bool], what: str, patience_s: float = 30) -> None:
    """Wait for something that gossip brings about."""
    try:
        async with asyncio.timeout(patience_s):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None
