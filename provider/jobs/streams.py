"""Which stream a lease speaks on. Rule: the newest stream wins; a slow reader loses its stream, never our memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from gpufair.protocol import limits
from gpufair.protocol.messages import Chunk, Down

LOOK_S = 0.02


class Stream:
    """The sending half of one open stream."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Down | None] = asyncio.Queue(limits.STREAM_QUEUE_MAX)
        self._pump: asyncio.Task[None] | None = None
        self.waiting = 0
        """Bytes of pictures in the queue."""
        self.closed = False

    def put(self, message: Down) -> None:
        """Queue a message. A reader that is too slow to take it loses the stream: it can re-attach."""
        if self.closed:
            return
        if self._queue.full() or self.waiting > limits.STREAM_BYTES_MAX:
            self.drop()
            return
        self.waiting += _size(message)
        self._queue.put_nowait(message)

    def drop(self) -> None:
        """End the stream at once: what is queued is for nobody, and nothing of it is lost for good."""
        self.close()
        while not self._queue.empty():
            self._queue.get_nowait()
        self.waiting = 0
        if self._pump is not None:
            self._pump.cancel()  # it may hang in a `send` that never ends

    def close(self) -> None:
        """End the stream after what is queued."""
        if not self.closed:
            self.closed = True
            with contextlib.suppress(asyncio.QueueFull):
                self._queue.put_nowait(None)

    async def pump(self, send: Callable[[Down], Awaitable[None]]) -> None:
        """Send what is queued until the stream is closed. Run as a task of its own: it is cancelled if nobody reads."""
        self._pump = asyncio.current_task()
        while True:
            if self.closed and self._queue.empty():
                return
            message = await self._queue.get()
            if message is None:
                return
            self.waiting -= _size(message)
            await send(message)


def _size(message: Down) -> int:
    return len(message.data) if isinstance(message, Chunk) else 0


class Streams:
    """The newest stream of each lease."""

    def __init__(self) -> None:
        self._newest: dict[bytes, Stream] = {}

    @property
    def leases(self) -> tuple[bytes, ...]:
        """Those whose clients are connected."""
        return tuple(self._newest)

    def open(self, lease: bytes) -> Stream:
        """A new stream takes the lease over; the one before ends."""
        before = self._newest.get(lease)
        if before is not None:
            before.drop()
        stream = Stream()
        self._newest[lease] = stream
        return stream

    def gone(self, lease: bytes, stream: Stream) -> None:
        """A stream has ended."""
        stream.close()
        if self._newest.get(lease) is stream:
            del self._newest[lease]

    def send(self, lease: bytes, message: Down) -> None:
        """Send on the lease's newest stream; without one it is lost, and said again when the client re-attaches."""
        stream = self._newest.get(lease)
        if stream is not None:
            stream.put(message)

    def end(self, lease: bytes, after_s: float) -> None:
        """End the lease's stream a little later: nothing more is said on it, and it holds a place of the server's."""
        stream = self._newest.get(lease)
        if stream is not None:
            asyncio.get_running_loop().call_later(after_s, stream.close)

    async def left(self, patience_s: float) -> None:
        """Wait until the clients have ended their streams, or for so long.

        A stream that the server ends takes along what the client has not read yet, if it is just then writing.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        while self._newest and loop.time() < until:
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """End every stream."""
        for stream in list(self._newest.values()):
            stream.close()
