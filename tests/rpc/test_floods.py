"""Floods: each limit refuses what is beyond it, and whoever comes from elsewhere is served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections import Counter

import grpc.aio
import pytest

from gpufair.protocol import limits, server_limits, wire
from gpufair.protocol.addresses import Endpoint
from gpufair.protocol.edge import calls, status
from gpufair.protocol.edge.channels import open_channel
from gpufair.protocol.errors import Fault
from gpufair.protocol.messages import Envelope, Pay
from gpufair.provider.rpc.silence import Silence

DID = "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"
KINDS = [(calls.DIRECTORY, "Record"), (calls.LEDGER, "Ask"), (calls.MARKET, "FetchDelivery"), (calls.MARKET, "Execute")]
"""One message and one answer, and streams either way and both."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, SETTINGS, PING, GOAWAY = 0, 4, 6, 7


@contextlib.asynccontextmanager
async def from_elsewhere(endpoint):
    """A door to a node: whoever goes through it comes from another address than this test's own connections."""

    async def carry(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def enter(reader, writer):
        inner = await asyncio.open_connection(endpoint.host, endpoint.port, local_addr=("127.0.0.2", 0))
        await asyncio.gather(carry(reader, inner[1]), carry(inner[0], writer))

    server = await asyncio.start_server(enter, "127.0.0.1", 0)
    try:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def fault_of(call):
    """How a call that says nothing ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [answer async for answer in call]
    return status.from_status(caught.value, "it").fault


@pytest.mark.parametrize(("service", "method"), KINDS)
def test_of_calls_on_which_nothing_is_said_an_address_has_few(run, a_house, service, method):
    """Until it says something a call costs its caller nothing, and takes one of the places that all calls share."""

    async def work():
        silence = Silence(most=5)
        async with a_house(silence=silence) as house, from_elsewhere(house.endpoint) as door:
            house.card.endpoints = (str(house.endpoint),)
            async with open_channel(door, house.card.tls.certificate) as channel:
                silent = [channel.stream_stream(calls.path(service, method))() for _ in range(8)]
                waiting = {asyncio.ensure_future(fault_of(call)) for call in silent}
                refused = set()
                while len(refused) < 3:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    refused |= done
                assert {one.result() for one in refused} == {Fault.LIMIT}
                assert (await house.peer()).did == house.card.desk.did, "who comes from elsewhere is served"
                for one in waiting:
                    one.cancel()
                while silence._silent:
                    await asyncio.sleep(0.01)
                again = channel.unary_unary(calls.path(calls.DIRECTORY, "Record"))
                assert await again(b"", timeout=5), "there is room again"

    run(work())


@pytest.mark.parametrize(("service", "method"), KINDS)
def test_calls_on_which_nothing_is_said_end(run, a_house, service, method):
    async def work():
        silence = Silence(within_ms=100)
        async with a_house(silence=silence) as house:
            async with open_channel(house.endpoint, house.card.tls.certificate) as channel:
                assert await fault_of(channel.stream_stream(calls.path(service, method))()) is Fault.EXPIRED
            assert not silence._silent
            assert house.offices.running == 0

    run(work())


def test_all_leases_can_have_their_streams_beside_what_silent_crowds_may_take() -> None:
    assert limits.RPCS_MAX >= limits.LEASES_MAX + 8 * server_limits.SILENT_CALLS_MAX


def test_bids_of_one_address_wait_for_each_other_and_not_for_anybody_else(run, a_house, a_document):
    async def work():
        async with a_house() as house, from_elsewhere(house.endpoint) as door:
            house.card.endpoints = (str(house.endpoint),)
            running, most, go_on = Counter(), Counter(), asyncio.Event()

            async def slow(bid, source):
                running[source] += 1
                most[source] = max(most[source], running[source])
                await go_on.wait()
                running[source] -= 1
                return bid

            house.offices.place = slow
            data = wire.encode(a_document(Pay, DID, 1, ""))
            async with open_channel(door, house.card.tls.certificate) as channel:
                theirs = channel.unary_unary(calls.path(calls.MARKET, "Place"))
                waiting = [asyncio.ensure_future(_whole(theirs(data, timeout=15))) for _ in range(5)]
                ours = asyncio.ensure_future((await house.peer()).market.place(wire.decode(Envelope, data)))
                while len(running) < 2:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)  # the others of them are here too, by now or soon
                go_on.set()
                await asyncio.gather(ours, *waiting)
            assert most == {"ipv4:127.0.0.1": 1, "ipv4:127.0.0.2": 1}

    run(work())


async def _whole(call):
    return await call


@pytest.mark.parametrize(
    ("service", "method", "price"),
    [(calls.MARKET, "Place", server_limits.BID_TOKENS), (calls.DIRECTORY, "Publish", server_limits.PUBLISH_TOKENS)],
)
def test_what_makes_the_house_work_costs_more(run, a_house, a_document, service, method, price):
    async def work():
        data, answered, fault = wire.encode(a_document(Pay, DID, 1, "")), 0, None
        still = a_house(now_s=lambda: 0.0)  # a clock that stands still: nothing is refilled
        async with still as house, open_channel(house.endpoint, house.card.tls.certificate) as channel:
            ask = channel.unary_unary(calls.path(service, method))
            while fault is None:
                try:
                    await ask(data, timeout=15)
                    answered += 1
                except grpc.aio.AioRpcError as error:
                    fault = status.from_status(error, "it").fault
        assert (answered, fault) == (limits.BUCKET_BURST // price, Fault.LIMIT)

    run(work())


def test_there_are_so_many_connections_and_no_more(run, a_house):
    """Each is a file that the node has open, and it needs some for its own work."""

    async def work():
        async with a_house(connections=2) as house:
            peers = [open_channel(house.endpoint, house.card.tls.certificate) for _ in range(3)]
            asks = [peer.unary_unary(calls.path(calls.DIRECTORY, "Record")) for peer in peers]
            assert await asks[0](b"", timeout=5)
            assert await asks[1](b"", timeout=5)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asks[2](b"", timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await peers[0].close()
            assert await asks[2](b"", timeout=10, wait_for_ready=True), "one has gone: there is room"
            for peer in peers[1:]:
                await peer.close()

    run(work())


# --- below gRPC -------------------------------------------------------------------------------------------------------


def frame(kind, payload, *, length=None):
    """An HTTP/2 frame, which may lie about its length."""
    return struct.pack(">I", len(payload) if length is None else length)[1:] + bytes([kind, 0]) + bytes(4) + payload


async def goodbye(house, *frames):
    """Say these frames on a connection of our own, until the node ends it; its last words, an error code and a text."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port, ssl=context)
    writer.write(PREFACE + frame(SETTINGS, b"") + b"".join(frames))
    said, words = await reader.read(), None
    writer.close()
    while said:
        length, kind = int.from_bytes(said[:3], "big"), said[3]
        if kind == GOAWAY:
            words = int.from_bytes(said[13:17], "big"), said[17 : 9 + length]
        said = said[9 + length :]
    return words


def test_who_pings_too_often_is_cut_off(run, a_house):
    async def work():
        async with a_house() as house:
            assert await goodbye(house, *[frame(PING, bytes(8))] * 50) == (11, b"too_many_pings"), "enhance your calm"
            assert (await house.peer()).did == house.card.desk.did

    run(work())


@pytest.mark.parametrize("kind", [DATA, SETTINGS])
def test_a_frame_that_claims_to_be_huge_ends_its_connection(run, a_house, kind):
    async def work():
        async with a_house() as house:
            await goodbye(house, frame(kind, bytes(64), length=2**24 - 1))  # which returns once it is cut off
            assert (await house.peer()).did == house.card.desk.did

    run(work())


def test_headers_without_end_are_refused(run, a_house):
    async def work():
        async with a_house() as house, open_channel(house.endpoint, house.card.tls.certificate) as channel:
            call = channel.unary_unary(calls.path(calls.DIRECTORY, "Record"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", metadata=[("x", "y" * 4 * limits.METADATA_MAX)], timeout=5)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert house.offices.seen == []
            assert (await house.peer()).did == house.card.desk.did

    run(work())
