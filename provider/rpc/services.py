"""The three services over their offices. Rule: bytes to message, office, message to bytes, and nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from gpufair.protocol import wire
from gpufair.protocol.edge import calls
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.journal import JournalPage
from gpufair.protocol.messages import (
    Capture,
    Compare,
    Document,
    Down,
    Envelope,
    HoldOrder,
    Issue,
    Pay,
    Pull,
    Redeem,
    SearchRequest,
    Tell,
    Up,
)
from gpufair.provider.rpc.bucket import address_of, reach_of
from gpufair.provider.rpc.offices import DirectoryOffice, LedgerOffice, MarketOffice
from gpufair.provider.rpc.queues import Queues

Context = grpc.aio.ServicerContext[bytes, bytes]
_Unary = Callable[[bytes], Awaitable[bytes]]
_ORDERS: dict[str, type[Document]] = {
    "PlaceHold": HoldOrder,
    "Capture": Capture,
    "Pay": Pay,
    "Issue": Issue,
    "Redeem": Redeem,
}


def directory_service(office: DirectoryOffice) -> grpc.GenericRpcHandler:
    """gpufair.v1.Directory."""
    queues = Queues()

    async def record(_request: bytes) -> bytes:
        return wire.encode(await office.record())

    async def publish(request: bytes, context: Context) -> bytes:
        peer = context.peer()
        document, source = wire.decode(Envelope, request), address_of(peer)
        async with queues.turn(source):
            sequence, stored = await office.publish(document, source, reach_of(peer))
        return wire.encode(calls.PublishAnswer(sequence, stored))

    async def find_records(request: bytes) -> bytes:
        wanted = wire.decode(calls.FindRequest, request)
        found, following = await office.find_records(wanted.dids, wanted.after)
        return wire.encode(calls.Documents(tuple(found), following))

    async def find_offers(request: bytes) -> bytes:
        wanted = wire.decode(calls.FindRequest, request)
        found, following = await office.find_offers(wanted.dids, wanted.after)
        return wire.encode(calls.Documents(tuple(found), following))

    async def find_evidence(request: bytes) -> bytes:
        wanted = wire.decode(calls.FindRequest, request)
        found, following = await office.find_evidence(wanted.dids, wanted.after)
        return wire.encode(calls.Documents(tuple(found), following))

    async def search(request: bytes) -> bytes:
        return wire.encode(await office.search(wire.decode(SearchRequest, request)))

    async def differ(request: bytes) -> bytes:
        return wire.encode(await office.differ(wire.decode(Compare, request)))

    async def hear(request: bytes) -> bytes:
        return wire.encode(await office.hear(wire.decode(Tell, request)))

    async def give(request: bytes) -> bytes:
        return wire.encode(await office.give(wire.decode(Pull, request)))

    asked = {"FindRecords": find_records, "FindOffers": find_offers, "FindEvidence": find_evidence}
    asked |= {"Search": search, "Differ": differ, "Hear": hear, "Give": give}
    methods = {name: _queued(method, queues) for name, method in asked.items()}
    methods |= {"Record": _unary(record), "Publish": grpc.unary_unary_rpc_method_handler(publish)}
    return _handler(calls.DIRECTORY, methods)


def market_service(office: MarketOffice) -> grpc.GenericRpcHandler:
    """gpufair.v1.Market."""
    queues = Queues()

    async def place(request: bytes, context: Context) -> bytes:
        bid, source = wire.decode(Envelope, request), address_of(context.peer())
        async with queues.turn(source):
            return wire.encode(await office.place(bid, source))

    async def fund(request: bytes) -> bytes:
        await office.fund(wire.decode(Envelope, request))
        return calls.EMPTY

    async def execute(requests: AsyncIterator[bytes], context: Context) -> None:
        writing = asyncio.Lock()

        async def send(message: Down) -> None:
            data = calls.encode_down(message)
            async with writing:
                await context.write(data)

        await office.execute(_messages(requests), send)

    async def fetch(request: bytes, context: Context) -> None:
        async for part in office.fetch(wire.decode(Envelope, request)):
            await context.write(calls.encode_part(part))

    async def audit(request: bytes, context: Context) -> None:
        async for part in office.audit(wire.decode(Envelope, request)):
            await context.write(calls.encode_proof(part))

    methods = {
        "Place": grpc.unary_unary_rpc_method_handler(place),
        "Fund": _unary(fund),
        "Execute": grpc.stream_stream_rpc_method_handler(execute),
        "FetchDelivery": grpc.unary_stream_rpc_method_handler(fetch),
        "AuditDelivery": grpc.unary_stream_rpc_method_handler(audit),
    }
    return _handler(calls.MARKET, methods)


def ledger_service(office: LedgerOffice) -> grpc.GenericRpcHandler:
    """gpufair.v1.Ledger."""

    def order(kind: type[Document]) -> _Unary:
        async def submit(request: bytes) -> bytes:
            document = wire.decode(Envelope, request)
            if document.payload_type != kind.TYPE:
                raise PeerError(Fault.WRONG_TYPE, f"expected {kind.TYPE}, got {document.payload_type}")
            return wire.encode(await office.submit(document))

        return submit

    async def ask(request: bytes) -> bytes:
        return wire.encode(await office.ask(wire.decode(Envelope, request)))

    async def journal(request: bytes) -> bytes:
        events, head = await office.journal(wire.decode(Envelope, request))
        return wire.encode(JournalPage(tuple(events), head))

    methods = {name: order(kind) for name, kind in _ORDERS.items()} | {"Ask": ask, "Journal": journal}
    return _handler(calls.LEDGER, {name: _unary(method) for name, method in methods.items()})


async def _messages(requests: AsyncIterator[bytes]) -> AsyncIterator[Up]:
    async for data in requests:
        yield calls.decode_up(data)


def _unary(method: _Unary) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def call(request: bytes, _context: Context) -> bytes:
        return await method(request)

    return grpc.unary_unary_rpc_method_handler(call)


def _queued(method: _Unary, queues: Queues) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def call(request: bytes, context: Context) -> bytes:
        async with queues.turn(address_of(context.peer())):
            return await method(request)

    return grpc.unary_unary_rpc_method_handler(call)


def _handler(service: str, methods: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(service, methods)
