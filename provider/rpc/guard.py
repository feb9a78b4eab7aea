"""What stands before every call. Rule: each call is paid with a token, and only a typed refusal ever goes back.

All calls are read as streams, those of one message too: gRPC would wait for that message for ever.
A connection has its bucket, and so has the address that it comes from, a much larger one: many may share an address.
A unary call without a token is refused; a stream without one is read more slowly, which pushes back on its sender.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from gpufair.protocol import server_limits
from gpufair.protocol.edge import calls, status
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.errors import FairError, Fault, PeerError
from gpufair.protocol.ports import Random
from gpufair.provider.rpc.bucket import Buckets, address_of
from gpufair.provider.rpc.silence import Silence

_log = logging.getLogger(__name__)
PRICES = {
    calls.path(calls.MARKET, "Place"): server_limits.BID_TOKENS,
    calls.path(calls.DIRECTORY, "Publish"): server_limits.PUBLISH_TOKENS,
    **{
        calls.path(calls.DIRECTORY, method): server_limits.PAGE_TOKENS
        for method in ("FindRecords", "FindOffers", "FindEvidence", "Differ", "Give")
    },
}
"""What calls cost that make the house work: signatures and a commit for whoever asks, or a megabyte to be gathered. All
others cost one token."""
_Handler = Any  # gRPC's handler is a tuple of which exactly one behaviour is set, for messages of any type


class Guard(grpc.aio.ServerInterceptor):
    """The one interceptor of the server."""

    def __init__(self, connections: Buckets, addresses: Buckets, silence: Silence, random: Random) -> None:
        self._connections, self._addresses, self._silence = connections, addresses, silence
        self._random = random
        self._running: set[asyncio.Task[Any] | None] = set()

    async def idle(self, within_s: float) -> None:
        """Wait until every call has ended, cancelled ones too: what they clean up may need the house as it stands."""
        running = [task for task in self._running if task is not None]
        if running:
            await asyncio.wait(running, timeout=within_s)

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]], details: grpc.HandlerCallDetails
    ) -> _Handler:
        """Wrap the method's behaviour; an unknown method stays unknown."""
        handler = await continuation(details)
        if handler is None:
            return None
        asks = "stream" if handler.request_streaming else "unary"
        answers = "stream" if handler.response_streaming else "unary"
        guarded = self._guarded(getattr(handler, f"{asks}_{answers}"), details.method, handler)
        fresh = {"unary_unary": None, "unary_stream": None, "request_streaming": True, f"stream_{answers}": guarded}
        return handler._replace(**fresh)

    def _guarded(self, behaviour: Callable[..., Any], method: str, handler: _Handler) -> Callable[..., Awaitable[Any]]:
        async def guarded(requests: Any, context: Any) -> Any:
            task = asyncio.current_task()
            self._running.add(task)
            try:
                self._admit(context.peer(), PRICES.get(method, 1))
                if handler.request_streaming:
                    return await behaviour(self._paced(requests, context.peer()), context)
                return await behaviour(await self._message(requests, context.peer()), context)
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception as error:  # whatever an office raises, the peer gets a typed refusal
                await self._refuse(error, method, context)
            finally:
                self._running.discard(task)

        return guarded

    def _admit(self, connection: str, price: int) -> None:
        # Its own bucket first: what one connection has too much takes nothing from others of its address.
        if self._connections.take(connection, price):
            raise PeerError(Fault.LIMIT, "too many requests on this connection", hint="ask again a little later")
        if self._addresses.take(address_of(connection), price):
            raise PeerError(Fault.LIMIT, "too many requests from this address", hint="ask again a little later")

    async def _message(self, requests: AsyncIterator[Any], connection: str) -> Any:
        """The one message of a call that has one."""
        message = await self._silence.first(requests, address_of(connection))
        if message is None:
            raise PeerError(Fault.MALFORMED, "a call without its message")
        return message

    async def _paced(self, requests: AsyncIterator[Any], connection: str) -> AsyncIterator[Any]:
        address = address_of(connection)
        first = await self._silence.first(requests, address)
        if first is None:
            return
        yield first
        async for request in requests:
            while wait_s := self._connections.take(connection):
                await asyncio.sleep(wait_s)
            while wait_s := self._addresses.take(address):
                await asyncio.sleep(wait_s)
            yield request

    async def _refuse(self, error: Exception, method: str, context: Any) -> NoReturn:
        is_theirs = isinstance(error, PeerError) and not isinstance(error, RemoteRefusal)  # that is a third peer's no
        refusal = error if is_theirs and isinstance(error, PeerError) else self._own_trouble(error, method)
        code, details, metadata = status.to_status(refusal)
        await context.abort(code, details, metadata)
        raise AssertionError("abort raises")

    def _own_trouble(self, error: Exception, method: str) -> PeerError:
        """Say that it is our fault and under which number our log tells more, and nothing of what went wrong."""
        log_id = self._random.bytes(4).hex()
        _log.error("%s failed (log id %s)", method, log_id, exc_info=error)
        passing = isinstance(error, PeerUnreachable | RemoteRefusal) or (
            isinstance(error, FairError) and error.fault is Fault.UNAVAILABLE
        )
        fault = Fault.UNAVAILABLE if passing else Fault.INTERNAL
        what = "this node cannot do that now" if passing else "this node failed at that"
        return PeerError(fault, f"{what} (log id {log_id})", hint="ask again later, or tell its owner the log id")
