"""How many connections there are: one that stands is used again, and where there is no room an idle one makes it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from gpufair.protocol import limits
from gpufair.protocol.addresses import Endpoint
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.edge.system import SystemClock
from gpufair.protocol.errors import Fault, LocalError, PeerError

CLOCK = SystemClock()


class Turned:
    """A clock that is ahead by as much as it is told."""

    ahead_ms = 0

    def now_ms(self):
        return CLOCK.now_ms() + self.ahead_ms


@asynccontextmanager
async def counted(endpoint):
    """A door before a node that counts who comes in: its own address, and the list of connections."""
    came = []

    async def carry(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def enter(reader, writer):
        came.append(writer)
        inner_reader, inner_writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    server = await asyncio.start_server(enter, "127.0.0.1", 0)
    try:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]), came
    finally:
        server.close()
        for writer in came:
            writer.transport.abort()


def test_a_connection_that_stands_is_met_again_without_a_handshake(run, a_house):
    async def work():
        async with a_house() as house, counted(house.endpoint) as (door, came), Peers(CLOCK) as peers:
            address = f"{house.card.desk.did}@{door}"
            peer = await peers.meet(address)
            assert len(came) == 2, "one to see the certificate, one that is pinned to it"
            for _ in range(3):
                assert await peers.meet(address) is peer
            assert len(came) == 2
            await peers.meet(str(door))
            assert len(came) > 2, "without a did nobody is known: whoever answers is asked"

    run(work())


def test_a_connection_that_stands_is_not_met_under_another_did(run, a_house, a_card):
    async def work():
        async with a_house() as house:
            await house.peers.meet(f"{house.card.desk.did}@{house.endpoint}")
            with pytest.raises(PeerError, match="was expected"):
                await house.peers.meet(f"{a_card(9).desk.did}@{house.endpoint}")

    run(work())


def test_a_record_that_is_over_is_asked_for_again_on_the_connection_that_stands(run, a_house):
    async def work():
        clock = Turned()
        async with a_house() as house, counted(house.endpoint) as (door, came), Peers(clock) as peers:
            address = f"{house.card.desk.did}@{door}"
            peer = await peers.meet(address)
            before = peer.record.doc.head.expires_at_ms
            clock.ahead_ms = limits.BROADCAST_TTL_MS + limits.SECOND
            await asyncio.sleep(0.005)
            house.card.age_ms = -clock.ahead_ms
            assert await peers.meet(address) is peer
            assert peer.record.doc.head.expires_at_ms > before
            assert len(came) == 2

    run(work())


def test_a_node_with_another_certificate_is_met_anew(run, a_house, a_card):
    async def work():
        async with Peers(CLOCK) as peers:
            async with a_house() as first:
                port, did = first.server.port, first.card.desk.did
                old = await peers.meet(f"{did}@{first.endpoint}")
            with pytest.raises(PeerUnreachable):
                await old.directory.record()
            async with a_house(a_card(), listen=f"127.0.0.1:{port}") as second:
                assert second.card.tls != first.card.tls
                peer = await peers.meet(f"{did}@{second.endpoint}")
                assert peer.certificate == second.card.tls.certificate

    run(work())


def test_the_one_that_was_asked_for_longest_ago_makes_room(run, a_house, a_card):
    async def work():
        async with AsyncExitStack() as stack:
            houses = [await stack.enter_async_context(a_house(a_card(seed))) for seed in (1, 2, 3)]
            peers = await stack.enter_async_context(Peers(CLOCK, most=2))
            one, two = [await peers.at(house.card.record()) for house in houses[:2]]
            assert await peers.at(houses[0].card.record()) is one
            three = await peers.at(houses[2].card.record())
            assert [peer.is_alive for peer in (one, two, three)] == [True, False, True]
            assert await peers.at(houses[0].card.record()) is one
            assert (await peers.at(houses[1].card.record())).did == two.did, "and it is met again when it is wanted"

    run(work())


def test_the_dead_make_room_first(run, a_house, a_card):
    async def work():
        async with AsyncExitStack() as stack:
            houses = [await stack.enter_async_context(a_house(a_card(seed))) for seed in (1, 2, 3)]
            peers = await stack.enter_async_context(Peers(CLOCK, most=2))
            one, two = [await peers.at(house.card.record()) for house in houses[:2]]
            await two.close()
            await peers.at(houses[2].card.record())
            assert one.is_alive

    run(work())


def test_who_is_being_talked_to_is_not_cut_off(run, a_house, a_card):
    async def work():
        async with AsyncExitStack() as stack:
            houses = [await stack.enter_async_context(a_house(a_card(seed))) for seed in (1, 2, 3)]
            peers = await stack.enter_async_context(Peers(CLOCK, most=2))
            one, two = [await peers.at(house.card.record()) for house in houses[:2]]
            streams = [peer.market.execute() for peer in (one, two)]
            for stream in streams:
                await stream.receive()
            with pytest.raises(LocalError) as caught:
                await peers.at(houses[2].card.record())
            assert caught.value.fault is Fault.LIMIT
            await streams[1].close()
            while not two.is_idle:
                await asyncio.sleep(0.01)
            await peers.at(houses[2].card.record())
            assert (one.is_alive, two.is_alive) == (True, False)
            await streams[0].close()

    run(work())


def test_every_call_that_is_over_leaves_the_connection_idle(run, a_house):
    async def work():
        async with a_house() as house:
            peer = await house.peer()
            assert peer.is_idle
            await peer.directory.record()
            house.offices.fail = PeerError(Fault.NOT_ALLOWED, "no")
            with pytest.raises(PeerError):
                await peer.market.fund(house.card.record().envelope)
            asking = asyncio.ensure_future(peer.directory.record())
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            async with peer.market.execute() as stream:
                assert not peer.is_idle
                await stream.receive()
            await asyncio.sleep(0.05)
            assert peer.is_idle

    run(work())
