"""Rule: a port is had alone or not at all, health is told the standard way, and stopping waits for the work in hand."""

import asyncio

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gpufair.protocol.edge.channels import open_channel
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import Body, Challenge, Closing
from gpufair.provider.rpc.server import serve


def test_a_port_is_not_shared(run, a_house):
    async def work():
        async with a_house() as house:
            with pytest.raises(LocalError, match="cannot listen") as caught:
                serve(listen=str(house.endpoint), tls_identity=house.card.tls, directory=house.offices)
            assert "another program" in caught.value.hint

    run(work())


@pytest.mark.parametrize(
    "listen", ["localhost:0", "127.0.0.1", "unix:/tmp/x", "127.0.0.1:70000", "127.0.0.1:-1", "", ":1"]
)
def test_where_a_node_cannot_listen(run, a_house, listen):
    async def work():
        async with a_house() as house:
            with pytest.raises(LocalError, match="cannot listen"):
                serve(listen=listen, tls_identity=house.card.tls, directory=house.offices)

    run(work())


def test_health(run, a_house):
    async def work():
        async with a_house(market=None) as house:
            channel = open_channel(house.endpoint, house.card.tls.certificate)
            check = health_pb2_grpc.HealthStub(channel).Check
            serving = health_pb2.HealthCheckResponse.SERVING
            for name in ("", "gpufair.v1.Directory", "gpufair.v1.Ledger"):
                assert (await check(health_pb2.HealthCheckRequest(service=name))).status == serving
            for name in ("gpufair.v1.Market", "anything"):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await check(health_pb2.HealthCheckRequest(service=name))
                assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            await channel.close()

    run(work())


def test_stopping_lets_a_stream_finish(run, a_house):
    async def work():
        async with a_house() as house:
            async with (await house.peer()).market.execute() as stream:
                assert await stream.receive() == Challenge(bytes(32))
                stopping = asyncio.create_task(house.server.stop(5))
                await asyncio.sleep(0.1)
                await stream.send(Body(bytes(16), b"x"))
                await stream.done()
                down = [message async for message in stream]
            assert down[-1] == Closing("done")
            await stopping
            with pytest.raises(PeerUnreachable):
                await house.peer()

    run(work())


def test_stopping_cancels_a_stream_that_does_not_finish(run, a_house):
    async def work():
        async with a_house() as house:
            async with (await house.peer()).market.execute() as stream:
                await stream.receive()
                await house.server.stop(0.1)
                with pytest.raises(PeerUnreachable):
                    await stream.receive()
            assert house.offices.running == 0

    run(work())
