"""Rule: a stream ends once, cleanly or with a reason, and closing it wakes whoever waits on it."""

import asyncio

import pytest

from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.messages import Body, Challenge, Closing

BODY = Body(bytes(16), b"x")


def test_closing_wakes_a_waiting_reader(run, a_house):
    async def work():
        async with a_house() as house:
            stream = (await house.peer()).market.execute()
            assert await stream.receive() == Challenge(bytes(32))
            waiting = asyncio.create_task(stream.receive())
            await asyncio.sleep(0.05)
            await stream.close()
            await stream.close()
            assert await asyncio.wait_for(waiting, 2) is None
            with pytest.raises(PeerUnreachable, match="is over"):
                await stream.send(BODY)

    run(work())


def test_a_cancelled_reader_is_cancelled(run, a_house):
    """Our own task's cancellation is never swallowed as the stream's end."""

    async def work():
        async with a_house() as house, (await house.peer()).market.execute() as stream:
            await stream.receive()
            waiting = asyncio.create_task(stream.receive())
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    run(work())


def test_after_a_clean_end(run, a_house):
    async def work():
        async with a_house() as house, (await house.peer()).market.execute() as stream:
            await stream.receive()
            await stream.done()
            assert await stream.receive() == Closing("done")
            assert await stream.receive() is None
            assert await stream.receive() is None
            await stream.done()
            with pytest.raises(PeerUnreachable, match="is over"):
                await stream.send(BODY)

    run(work())


def test_a_node_that_dies_in_the_middle(run, a_house):
    async def work():
        async with a_house() as house, (await house.peer()).market.execute() as stream:
            await stream.receive()
            await house.server.stop(0)
            with pytest.raises(PeerUnreachable):
                await stream.receive()
            with pytest.raises(PeerUnreachable):
                await stream.send(BODY)

    run(work())


def test_leaving_a_delivery_in_the_middle_ends_the_call(run, a_house, a_card):
    async def work():
        async with a_house() as house:
            peer = await house.peer()
            async for _part in peer.market.fetch_delivery(a_card().record().envelope):
                break
            assert await peer.directory.record()

    run(work())
