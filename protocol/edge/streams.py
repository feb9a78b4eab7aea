"""Streams from a peer. Rule: one write at a time, an end is told apart from a failure, and no wait lacks a bound.

An `Execute` stream may rightly be silent for long (a queue, a slow step): there the connection's keepalive tells a dead
peer from a patient one. A fetched delivery has no reason to pause and is given up after `limits.FETCH_SILENCE_MS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc.aio

from gpufair.protocol import limits
from gpufair.protocol.edge import calls, status
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.messages import Down, Up

P = TypeVar("P")


class ExecuteStream:
    """The client's end of an `Execute` stream."""

    def __init__(self, call: Any, peer: str) -> None:  # the call's type is a union that gRPC's stubs can't name
        self._call = call
        self._peer = peer
        self._writing = asyncio.Lock()
        self._closed = False

    async def send(self, message: Up) -> None:
        """Send; several tasks may. Raises PeerUnreachable or RemoteRefusal once the stream is over."""
        data = calls.encode_up(message)
        async with self._writing:
            try:
                await self._call.write(data)
            except grpc.aio.AioRpcError as error:
                raise status.from_status(error, self._peer) from error
            except (asyncio.InvalidStateError, grpc.aio.UsageError) as error:
                raise self._over() from error
            except asyncio.CancelledError as error:
                if not self._closed or _being_cancelled():
                    raise
                raise self._over() from error

    async def receive(self) -> Down | None:
        """The next message; None once the provider has ended the stream without an error, or after `close`."""
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise status.from_status(error, self._peer) from error
        except asyncio.CancelledError:
            if not self._closed or _being_cancelled():
                raise
            return None
        return None if data is grpc.aio.EOF else calls.decode_down(data)

    async def done(self) -> None:
        """Say that nothing more will be sent; what the provider sends still arrives."""
        async with self._writing:
            if not self._call.done():
                await self._call.done_writing()

    async def close(self) -> None:
        """Break the stream off if it is not over. May be called again."""
        self._closed = True
        self._call.cancel()

    def __aiter__(self) -> AsyncIterator[Down]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Down]:
        while (message := await self.receive()) is not None:
            yield message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    def _over(self) -> PeerUnreachable:
        return PeerUnreachable(f"the stream with {self._peer} is over", hint="open it again: the jobs re-attach")


async def parts(call: Any, peer: str, decode: Callable[[bytes], P]) -> AsyncIterator[P]:
    """The pieces of a fetched delivery or proof, each within `limits.FETCH_SILENCE_MS` of the one before."""
    try:
        while True:
            async with asyncio.timeout(limits.FETCH_SILENCE_MS / 1000):
                data = await call.read()
            if data is grpc.aio.EOF:
                return
            yield decode(data)
    except grpc.aio.AioRpcError as error:
        raise status.from_status(error, peer) from error
    except TimeoutError as error:
        raise PeerUnreachable(f"{peer} stopped in the middle of its answer", hint="ask for it again") from error
    finally:
        call.cancel()


def _being_cancelled() -> bool:
    """Whether it is our own task that is asked to stop, and not the call that was broken off."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
