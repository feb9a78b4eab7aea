"""Somebody who means harm. ONE RULE: bounded, on loopback only, from an address of its own, and honest about its count.

`python -m benchmarks.flooder KIND DID@HOST:PORT` floods a node until its standard input ends, then prints what became
of it as JSON. Its documents are signed for real, each by an identity of its own: those are free.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import ssl
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from gpufair.protocol import limits, server_limits, wire
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge import calls
from gpufair.protocol.edge.channels import Peer, Peers, open_channel
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.edge.tls import NODE_NAME, pem_of
from gpufair.protocol.envelope import Signed, read
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Bid, BidClass, NodeRecord, Offer, Role
from gpufair.protocol.pricing import frozen_sheet

CONNECTIONS, EACH = 8, 8
"""Connections, and calls under way on each."""
RATE = 2000.0
"""Calls a second that it tries: as many as one address may have in the long run."""
FROM = "127.0.0.9"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
PING = b"\x00\x00\x08\x06" + bytes(13)


@dataclass
class Target:
    """The node, its certificate, and the door to it from another address."""

    node: Peer
    door: Endpoint
    told: Counter[str] = field(default_factory=Counter)

    async def call(self, channel: grpc.aio.Channel, service: str, method: str, data: bytes) -> None:
        """One call; what became of it is counted."""
        try:
            ask: Any = channel.unary_unary(calls.path(service, method))
            await ask(data, timeout=15)
            self.told["answered"] += 1
        except grpc.aio.AioRpcError as error:
            self.told[error.code().name] += 1


def strangers() -> Iterator[Desk]:
    """New identities for ever."""
    for number in itertools.count():
        yield Desk(KeySigner.from_seed(struct.pack(">Q", number) + os.urandom(24)), SystemClock(), SystemRandom())


async def bids(target: Target) -> AsyncIterator[tuple[str, str, bytes]]:
    """Bids that are as good as anybody's, and that nobody will fund."""
    offer = await anext(found async for found in offers(target.node) if found.issuer == target.node.did)
    for desk in strangers():
        yield calls.MARKET, "Place", wire.encode(bid(desk, offer).envelope)


def bid(desk: Desk, offer: Signed[Offer]) -> Signed[Bid]:
    """A bid for the first model of an offer."""
    now, terms = desk.now_ms(), offer.doc
    return desk.sign(
        Bid(
            head=desk.head(offer.issuer, parent=offer.id), sheet=frozen_sheet(terms.models[0]),
            bid_class=BidClass.ON_DEMAND, cap=10**6, window=terms.window_max, notice_ms=0, idle_limit_ms=60_000,
            ledger=terms.ledgers[0].did, accept_by_ms=now + limits.FUNDING_TIMEOUT_MS,
            lease_expires_at_ms=now + limits.HOUR, margin_ms=limits.MARGIN_MIN_MS,
            worker_image=terms.worker_images[0].digest, record=terms.record,
        )
    )  # fmt: skip


async def offers(node: Peer) -> AsyncIterator[Signed[Offer]]:
    """What a node's directory has."""
    async for found in node.directory.all_offers():
        yield read(found, Offer)


async def records(target: Target) -> AsyncIterator[tuple[str, str, bytes]]:
    """Node records of nodes that are not there."""
    certificate = target.node.certificate
    for number, desk in enumerate(strangers()):
        where = (f"127.0.0.1:{1024 + number % 60_000}",)
        record = NodeRecord(desk.broadcast_head(), desk.now_ms(), (Role.PROVIDER,), where, certificate, bytes(32), "x")
        yield calls.DIRECTORY, "Publish", wire.encode(desk.sign(record).envelope)


async def oversized(_target: Target) -> AsyncIterator[tuple[str, str, bytes]]:
    """More than a message may have, and as much as it may have of nothing."""
    for size in itertools.cycle((limits.MESSAGE_MAX + 1, limits.MESSAGE_MAX)):
        yield calls.MARKET, "Place", bytes(size)


def many(source: Callable[[Target], AsyncIterator[tuple[str, str, bytes]]]) -> Callable[[Target], Awaitable[None]]:
    """Calls as fast as `RATE`, over several connections."""

    async def flood(target: Target) -> None:
        channels = [unbounded(target) for _ in range(CONNECTIONS)]
        room, now = asyncio.Semaphore(CONNECTIONS * EACH), asyncio.get_running_loop().time
        begun, running = now(), set[asyncio.Task[None]]()
        async for number, request in numbered(source(target)):
            await asyncio.sleep(max(0.0, begun + number / RATE - now()))
            await room.acquire()
            task = asyncio.create_task(target.call(channels[number % CONNECTIONS], *request))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _done: room.release())

    return flood


def unbounded(target: Target) -> grpc.aio.Channel:
    """A connection of somebody's who sets no limits to what it sends."""
    own = ("grpc.use_local_subchannel_pool", 1)
    options = (("grpc.ssl_target_name_override", NODE_NAME), ("grpc.max_send_message_length", -1), own)
    credentials = grpc.ssl_channel_credentials(root_certificates=pem_of(target.node.certificate))
    return grpc.aio.secure_channel(str(target.door), credentials, options=options)


async def numbered(source: AsyncIterator[tuple[str, str, bytes]]) -> AsyncIterator[tuple[int, tuple[str, str, bytes]]]:
    """With their numbers."""
    number = 0
    async for one in source:
        yield number, one
        number += 1


async def silent(target: Target) -> None:
    """Calls on which nothing is said, again as soon as one ends."""
    async with open_channel(target.door, target.node.certificate) as channel:

        async def one() -> None:
            while True:
                call: Any = channel.stream_stream(calls.path(calls.DIRECTORY, "Record"))()
                try:
                    await call.read()
                except grpc.aio.AioRpcError as error:
                    target.told[error.code().name] += 1
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(one() for _ in range(2 * server_limits.SILENT_CALLS_MAX)))


async def pings(target: Target) -> None:
    """HTTP/2 pings until it is cut off, then from the beginning."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(target.door.host, target.door.port, ssl=context)
                writer.write(PREFACE + PING * 100)
                await reader.read()
                writer.close()
                target.told["cut off"] += 1
            await asyncio.sleep(0.02)

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


KINDS: dict[str, Callable[[Target], Awaitable[None]]] = {
    "bids": many(bids),
    "records": many(records),
    "oversized": many(oversized),
    "silent": silent,
    "pings": pings,
}


@contextlib.asynccontextmanager
async def door_to(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """Whoever goes through this comes to the node from `FROM`."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            back, forth = await asyncio.open_connection(endpoint.host, endpoint.port, local_addr=(FROM, 0))
            await asyncio.gather(carry(reader, forth), carry(back, writer))

    server = await asyncio.start_server(enter, "127.0.0.1", 0)
    async with server:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


async def main(kind: str, address: str) -> None:
    """Flood until standard input ends."""
    where = PeerAddress.parse(address)
    assert where.endpoint.host == "127.0.0.1", "a benchmark floods this machine alone"
    async with Peers(SystemClock()) as peers, door_to(where.endpoint) as door:
        target = Target(await peers.meet(address), door)
        flood = asyncio.ensure_future(KINDS[kind](target))
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
        print(json.dumps(target.told), flush=True)
        os._exit(0)  # what is under way need not end well


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
