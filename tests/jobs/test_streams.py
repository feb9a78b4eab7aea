"""The sending half of streams: the newest wins, and a reader that hangs costs neither memory nor anybody's time."""

from __future__ import annotations

import asyncio
from typing import Any

from gpufair.protocol import limits
from gpufair.protocol.messages import Chunk, Closing, KeyReveal
from gpufair.provider.jobs.streams import Streams

LEASE = bytes(32)


def message(number: int) -> KeyReveal:
    return KeyReveal(bytes(16), number, bytes(32))


def test_what_is_queued_goes_out_in_order_and_then_it_ends() -> None:
    async def story() -> None:
        streams, got = Streams(), []

        async def send(what: Any) -> None:
            await asyncio.sleep(0)
            got.append(what)

        stream = streams.open(LEASE)
        for number in range(5):
            streams.send(LEASE, message(number))
        streams.close()
        streams.send(LEASE, message(9))
        await asyncio.wait_for(stream.pump(send), 5)
        assert got == [message(number) for number in range(5)]

    asyncio.run(story())


def test_a_lease_without_a_stream_loses_nothing_but_words() -> None:
    Streams().send(LEASE, Closing("nobody hears this"))


def test_a_newer_stream_takes_over_and_outlives_the_older_ones_end() -> None:
    async def story() -> None:
        streams = Streams()
        older = streams.open(LEASE)
        newer = streams.open(LEASE)
        assert older.closed
        assert not newer.closed
        streams.gone(LEASE, older)
        streams.send(LEASE, message(1))
        got: list[Any] = []

        async def send(what: Any) -> None:
            got.append(what)

        streams.gone(LEASE, newer)
        await asyncio.wait_for(newer.pump(send), 5)
        assert got == [message(1)]

    asyncio.run(story())


def test_clients_get_a_moment_to_leave() -> None:
    async def story() -> None:
        streams, now = Streams(), asyncio.get_running_loop().time
        stream = streams.open(LEASE)
        asyncio.get_running_loop().call_later(0.05, streams.gone, LEASE, stream)
        begun = now()
        await streams.left(5)
        assert 0.04 < now() - begun < 2
        streams.open(LEASE)
        begun = now()
        await streams.left(0.05)
        assert now() - begun >= 0.05, "and no more than a moment"

    asyncio.run(story())


def test_a_reader_that_hangs_loses_its_stream() -> None:
    async def story() -> None:
        streams = Streams()
        stream = streams.open(LEASE)

        async def hang(_what: Any) -> None:
            await asyncio.Event().wait()

        pump = asyncio.create_task(stream.pump(hang))
        for number in range(limits.STREAM_QUEUE_MAX + 2):
            streams.send(LEASE, message(number % limits.COUNT_MAX))
            await asyncio.sleep(0) if number == 0 else None
        assert stream.closed
        await asyncio.wait((pump,), timeout=5)
        assert pump.done(), "nobody waits for it"

    asyncio.run(story())


async def hang(_what: Any) -> None:
    await asyncio.Event().wait()


def test_a_reader_that_hangs_holds_few_bytes() -> None:
    """A client that asks for its delivery again and again, and reads nothing, must not fill the memory."""

    async def story() -> None:
        streams = Streams()
        stream = streams.open(LEASE)
        pump = asyncio.create_task(stream.pump(hang))
        data = bytes(limits.CHUNK)
        for number in range(limits.STREAM_BYTES_MAX // limits.CHUNK + 4):
            streams.send(LEASE, Chunk(bytes(16), 0, number * limits.CHUNK, data))
            await asyncio.sleep(0) if number == 0 else None
        assert stream.closed
        await asyncio.wait((pump,), timeout=5)
        assert pump.done()
        assert stream.waiting == 0, "what nobody will read is let go"

    asyncio.run(story())


def test_bytes_that_were_read_count_no_more() -> None:
    async def story() -> None:
        streams, got = Streams(), []

        async def send(what: Any) -> None:
            got.append(what)

        stream = streams.open(LEASE)
        pump = asyncio.create_task(stream.pump(send))
        data = bytes(limits.CHUNK)
        for number in range(limits.STREAM_BYTES_MAX // limits.CHUNK + 2):
            streams.send(LEASE, Chunk(bytes(16), 0, number * limits.CHUNK, data))
            await asyncio.sleep(0)
        assert not stream.closed
        streams.close()
        await asyncio.wait_for(pump, 5)
        assert len(got) == limits.STREAM_BYTES_MAX // limits.CHUNK + 2

    asyncio.run(story())


def test_an_older_stream_that_hangs_is_not_waited_for() -> None:
    async def story() -> None:
        streams = Streams()
        pump = asyncio.create_task(streams.open(LEASE).pump(hang))
        streams.send(LEASE, message(1))
        await asyncio.sleep(0)
        streams.open(LEASE)
        await asyncio.wait((pump,), timeout=1)
        assert pump.done()

    asyncio.run(story())
