"""Rule: whatever bytes a caller sends, it gets a typed refusal, no office hears of it, and the node goes on."""

import asyncio
import gzip
import time
from dataclasses import replace

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufair.protocol import limits, wire
from gpufair.protocol.edge import calls, status, tls
from gpufair.protocol.edge.channels import open_channel
from gpufair.protocol.edge.refusals import RemoteRefusal
from gpufair.protocol.errors import FairError, Fault, PeerError
from gpufair.protocol.messages import Body, Pay
from gpufair.provider.rpc.bucket import Buckets

DID = "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"
UNARY = [
    *((calls.DIRECTORY, name) for name in ("Publish", "FindRecords", "FindOffers", "Search")),
    *((calls.MARKET, name) for name in ("Place", "Fund")),
    *((calls.LEDGER, name) for name in ("PlaceHold", "Capture", "Pay", "Issue", "Redeem", "Ask", "Journal")),
]


async def raw(house, service, method, data, **options):
    """Call with bytes of our own choosing; the refusal as our stubs would see it."""
    channel = open_channel(house.endpoint, house.card.tls.certificate)
    try:
        await channel.unary_unary(calls.path(service, method))(data, timeout=10, **options)
    except grpc.aio.AioRpcError as error:
        return status.from_status(error, "it")
    finally:
        await channel.close()
    return None


def unbounded(house):
    """A channel of somebody else's making: nothing is limited, compression is on."""
    credentials = grpc.ssl_channel_credentials(root_certificates=tls.pem_of(house.card.tls.certificate))
    options = (("grpc.ssl_target_name_override", "gpufair.node"), ("grpc.max_send_message_length", -1))
    return grpc.aio.secure_channel(str(house.endpoint), credentials, options=options)


def fault_of(run, a_house, service, method, data):
    async def work():
        async with a_house() as house:
            refusal = await raw(house, service, method, data)
            assert house.offices.seen == []
            assert (await house.peer()).did == house.card.desk.did
            return refusal

    return run(work())


@pytest.mark.parametrize(("service", "method"), UNARY)
def test_garbage_to_every_method(run, a_house, service, method):
    refusal = fault_of(run, a_house, service, method, b"\xff\xfe garbage \x00\x07")
    assert refusal.fault is Fault.MALFORMED
    assert "Traceback" not in str(refusal)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blobs=st.lists(st.binary(max_size=300), min_size=5, max_size=5))
def test_random_bytes(run, a_house, blobs):
    async def work():
        async with a_house() as house:
            peer = await house.peer()
            for blob in blobs:
                for service, method in UNARY[1:4]:
                    with pytest.raises(FairError) as caught:
                        await _Raw(peer, service).ask(method, blob)
                    assert caught.value.fault in (Fault.MALFORMED, Fault.WRONG_TYPE, Fault.TOO_LARGE)
            assert all(name.startswith("find") for name, _ in house.offices.seen)

    def only_bad(blob):
        return not _is_find(blob)

    if all(only_bad(blob) for blob in blobs):
        run(work())


def test_one_byte_more_than_a_message_may_have(run, a_house):
    """From a client that sets itself no limit."""

    async def work():
        async with a_house() as house:
            async with unbounded(house) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(calls.path(calls.LEDGER, "Pay"))(
                        bytes(limits.MESSAGE_MAX + 1), timeout=10
                    )
            assert status.from_status(caught.value, "it").fault is Fault.LIMIT
            assert house.offices.seen == []
            assert (await house.peer()).did == house.card.desk.did

    run(work())


def test_an_answer_that_is_too_large(run, a_house):
    """The other way round: a node that sends its reader more than a message may hold."""

    async def work():
        async with a_house() as house:
            pages = [house.card.record().envelope] * limits.FIND_MAX
            big = [replace(page, payload=bytes(limits.MESSAGE_MAX // 50)) for page in pages]

            async def flood(_dids, _after):
                return big, ""

            house.offices.find_records = flood
            with pytest.raises(RemoteRefusal) as caught:
                await (await house.peer()).directory.find_records()
            assert caught.value.fault in (Fault.LIMIT, Fault.INTERNAL)

    run(work())


def test_the_largest_message_is_judged_by_its_content(run, a_house):
    assert fault_of(run, a_house, calls.LEDGER, "Pay", bytes(limits.MESSAGE_MAX)).fault is Fault.MALFORMED


def test_a_compressed_bomb(run, a_house):
    """A client that compresses: 16 MiB of zeros in 16 KiB. The node takes no compression at all."""
    assert len(gzip.compress(bytes(16 * limits.MIB))) < limits.MESSAGE_MAX

    async def work():
        async with a_house() as house:
            async with unbounded(house) as channel:
                call = channel.unary_unary(calls.path(calls.LEDGER, "Pay"))
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(bytes(16 * limits.MIB), compression=grpc.Compression.Gzip, timeout=10)
            assert caught.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED)
            assert house.offices.seen == []
            assert (await house.peer()).did == house.card.desk.did

    run(work())


def test_a_small_compressed_message_is_refused_too(run, a_house, a_document):
    """Compression is off, not merely bounded: there is one form of a message, and one length."""

    async def work():
        async with a_house() as house:
            async with unbounded(house) as channel:
                call = channel.unary_unary(calls.path(calls.LEDGER, "Ask"))
                data = wire.encode(a_document(Pay, DID, 1, "m" * 200))
                assert await call(data, timeout=10)
                with pytest.raises(grpc.aio.AioRpcError):
                    await call(data, compression=grpc.Compression.Gzip, timeout=10)
            assert len(house.offices.seen) == 1

    run(work())


@pytest.mark.parametrize("data", [b"", b"\xa2\x06\x00", b"\x7a\x02ab"])
def test_a_stream_message_of_an_unknown_kind(run, a_house, data):
    """An empty oneof, and fields of a version that is not ours: a typed refusal, not a guess."""

    async def work():
        async with a_house() as house:
            channel = open_channel(house.endpoint, house.card.tls.certificate)
            stream = channel.stream_stream(calls.path(calls.MARKET, "Execute"))()
            await stream.write(data)
            await stream.read()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
            assert status.from_status(caught.value, "it").fault is Fault.WRONG_TYPE
            await asyncio.wait_for(house.offices.ended.wait(), 5)
            await channel.close()

    run(work())


def test_connections_that_say_nothing_do_not_keep_others_out(run, a_house):
    async def work():
        async with a_house() as house:
            silent = [await asyncio.open_connection("127.0.0.1", house.server.port) for _ in range(100)]
            assert (await house.peer()).did == house.card.desk.did
            for _, writer in silent:
                writer.close()

    run(work())


def test_a_client_that_goes_away_ends_its_stream(run, a_house):
    async def work():
        async with a_house() as house:
            async with (await house.peer()).market.execute() as stream:
                await stream.receive()
                assert house.offices.running == 1
            await asyncio.wait_for(house.offices.ended.wait(), 5)
            assert house.offices.running == 0

    run(work())


def test_a_flood_costs_the_flooder_only(run, a_house, a_document):
    """One connection empties its bucket and is refused; another, from the same machine, is served at once."""

    async def work():
        async with a_house(now_s=lambda: 0.0) as house:  # a clock that stands still: nothing is refilled
            flooder, honest = await house.peer(), open_channel(house.endpoint, house.card.tls.certificate)
            query = a_document(Pay, DID, 1, "")
            answers = []
            for _ in range(limits.BUCKET_BURST // 50):  # so few at once that gRPC opens no second connection
                answers += await asyncio.gather(*(flooder.ledger.ask(query) for _ in range(50)), return_exceptions=True)
            refused = [answer for answer in answers if isinstance(answer, PeerError)]
            assert {error.fault for error in refused} == {Fault.LIMIT}
            assert len(refused) == 1  # the greeting took one token
            begun = time.monotonic()
            await honest.unary_unary(calls.path(calls.DIRECTORY, "Record"))(b"", timeout=5)
            assert time.monotonic() - begun < 1
            await honest.close()

    run(work())


def test_a_flood_inside_a_stream_is_slowed_and_loses_nothing(run, a_house):
    async def work():
        ticks = iter(range(10**9))
        async with a_house(now_s=lambda: next(ticks) / 1000) as house:  # each look at the clock: a fifth of a token
            house.offices.echo = 1
            async with (await house.peer()).market.execute() as stream:

                async def flood():
                    for _ in range(600):
                        await stream.send(Body(bytes(16), b"x"))
                    await stream.done()

                sending = asyncio.create_task(flood())
                count = 0
                async for _ in stream:
                    count += 1
                await sending
            assert count == 1 + 600 + 1
            assert next(ticks) > 900  # 200 tokens had to be waited for, a fifth at a time

    run(work())


def test_buckets_refill_and_are_bounded():
    now = [0.0]
    buckets = Buckets(lambda: now[0], rate=10, burst=2)
    assert [buckets.take("a"), buckets.take("a")] == [0, 0]
    assert buckets.take("a") == pytest.approx(0.1)
    assert buckets.take("b") == 0
    now[0] = 0.1
    assert buckets.take("a") == pytest.approx(0)
    assert buckets.take("a") > 0
    now[0] = 100.0
    assert [buckets.take("a"), buckets.take("a")] == [0, 0]
    assert buckets.take("a") > 0
    for n in range(limits.CONNECTIONS_TRACKED + 50):
        buckets.take(f"c{n}")
    assert len(buckets) == limits.CONNECTIONS_TRACKED


class _Raw:
    """A peer's connection, for bytes."""

    def __init__(self, peer, service):
        self._channel = peer._channel
        self._service = service

    async def ask(self, method, data):
        try:
            return await self._channel.unary_unary(calls.path(self._service, method))(data, timeout=10)
        except grpc.aio.AioRpcError as error:
            raise status.from_status(error, "it") from error


def _is_find(blob):
    try:
        wire.decode(calls.FindRequest, blob)
    except PeerError:
        return False
    return True
