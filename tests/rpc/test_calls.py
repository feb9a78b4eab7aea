"""Rule: every method of every service reaches its office with the message, and its answer comes back the same."""

import asyncio

import pytest

from gpufair.protocol.edge import calls
from gpufair.protocol.edge.refusals import RemoteRefusal
from gpufair.protocol.errors import Fault
from gpufair.protocol.messages import (
    Bid,
    Body,
    Branch,
    Capture,
    Challenge,
    Chunk,
    Closing,
    Compare,
    Compared,
    Envelope,
    Heading,
    HoldOrder,
    Issue,
    KeyReveal,
    Pay,
    Pull,
    Query,
    QueryKind,
    Redeem,
    StatePiece,
    Tell,
    Told,
)
from gpufair.protocol.v1 import services_pb2
from gpufair.provider.rpc import services

DID = "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"
ORDERS = {
    "place_hold": (HoldOrder, (bytes(32), DID, 5, 6)),
    "capture": (Capture, (bytes(32), b"", (), True)),
    "pay": (Pay, (DID, 5, "thanks")),
    "issue": (Issue, (DID, 5, "invoice 1")),
    "redeem": (Redeem, (DID, 5, "invoice 2")),
}


def test_the_methods_are_those_of_the_proto(a_card):
    """A method in the .proto that no server answers, or the other way round, is a mistake in one of them."""
    built = {
        calls.DIRECTORY: services.directory_service,
        calls.MARKET: services.market_service,
        calls.LEDGER: services.ledger_service,
    }
    declared = services_pb2.DESCRIPTOR.services_by_name
    assert {f"gpufair.v1.{name}" for name in declared} == set(built)
    for name, build in built.items():
        methods = build(object())._method_handlers
        described = declared[name.rpartition(".")[2]].methods
        assert set(methods) == {calls.path(name, method.name) for method in described}
        for method in described:
            handler = methods[calls.path(name, method.name)]
            streaming = (method.client_streaming, method.server_streaming)
            assert (handler.request_streaming, handler.response_streaming) == streaming


def test_directory(run, a_house, a_document):
    async def work():
        async with a_house() as house:
            peer = (await house.peer()).directory
            sent = a_document(Pay, *ORDERS["pay"][1])
            assert await peer.publish(sent) == (7, True)
            assert house.offices.seen == [("publish", sent)]
            page, following = await peer.find_records([DID], "a")
            assert len(page) == 1
            assert following == ""
            assert house.offices.seen[-1] == ("find_records", ((DID,), "a"))
            assert [type(found) async for found in peer.all_records()] == [Envelope, Envelope]
            assert [type(found) async for found in peer.all_evidence([DID])] == [Envelope]
            assert house.offices.seen[-1] == ("find_evidence", ((DID,), ""))


def test_directories_among_themselves(run, a_house):
    async def work():
        async with a_house() as house:
            peer = (await house.peer()).directory
            compare = Compare((Branch("", b""), Branch("a", bytes(16))))
            assert await peer.differ(compare) == Compared((), compare.branches, ())
            tell = Tell(DID, (Heading(bytes(16), 5),))
            assert await peer.hear(tell) == Told(1)
            pull = Pull((bytes(16),))
            assert len((await peer.give(pull)).documents) == 1
            assert house.offices.seen == [("differ", compare), ("hear", tell), ("give", pull)]

    run(work())

    run(work())


def test_pages_that_never_end_are_noticed(run, a_house):
    async def work():
        async with a_house() as house:
            peer = (await house.peer()).directory
            with pytest.raises(Exception, match="circle") as caught:
                [found async for found in peer.all_offers()]
            assert caught.value.fault is Fault.MALFORMED

    run(work())


@pytest.mark.parametrize("method", ORDERS)
def test_ledger_orders(run, a_house, a_document, method):
    async def work():
        async with a_house() as house:
            peer = (await house.peer()).ledger
            order = a_document(ORDERS[method][0], *ORDERS[method][1])
            answer = house.offices.answer = a_document(Pay, DID, 1, "the answer")
            assert await getattr(peer, method)(order) == answer
            assert house.offices.seen == [("submit", order)]

    run(work())


@pytest.mark.parametrize("method", ORDERS)
def test_a_ledger_method_takes_its_own_order_only(run, a_house, a_document, method):
    """An order sent to another method must not be carried out: the office is never asked."""

    async def work():
        async with a_house() as house:
            peer = (await house.peer()).ledger
            for other, (kind, values) in ORDERS.items():
                if other != method:
                    with pytest.raises(RemoteRefusal) as caught:
                        await getattr(peer, method)(a_document(kind, *values))
                    assert caught.value.fault is Fault.WRONG_TYPE
            assert house.offices.seen == []

    run(work())


def test_ledger_questions(run, a_house, a_document):
    async def work():
        async with a_house() as house:
            peer = (await house.peer()).ledger
            query = a_document(Query, QueryKind.JOURNAL, DID, b"", 0)
            answer = house.offices.answer = a_document(Pay, DID, 1, "the answer")
            assert await peer.ask(query) == answer
            assert await peer.journal(query) == ((bytes(32), bytes(500)), answer)
            assert house.offices.seen == [("ask", query), ("journal", query)]

    run(work())


def test_market(run, a_house, a_document):
    async def work():
        async with a_house() as house:
            peer = (await house.peer()).market
            bid = a_document(Pay, DID, 1, "any document")
            answer = house.offices.answer = a_document(Pay, DID, 1, "the answer")
            assert await peer.place(bid) == answer
            assert await peer.fund(bid) is None
            parts = [part async for part in peer.fetch_delivery(bid)]
            assert parts == [answer, Chunk(bytes(16), 0, 0, bytes(128 * 1024)), KeyReveal(bytes(16), 0, bytes(32))]
            proof = [part async for part in peer.audit_delivery(bid)]
            assert proof == [answer, StatePiece(3, 0, bytes(128 * 1024))]
            assert [name for name, _ in house.offices.seen] == ["place", "fund", "fetch", "audit"]

    run(work())
    assert Bid.TYPE  # the market's own documents are checked by the office, not here


def test_execute_both_ways_with_many_senders(run, a_house):
    async def work():
        async with a_house() as house:
            market = (await house.peer()).market
            async with market.execute() as stream:
                assert await stream.receive() == Challenge(bytes(32))
                bodies = [Body(bytes(16), bytes([n + 1])) for n in range(30)]
                await asyncio.gather(*(stream.send(body) for body in bodies))
                await stream.done()
                down = [message async for message in stream]
            assert down.pop() == Closing("done")
            assert sorted(chunk.offset for chunk in down) == sorted(list(range(20)) * 30)
            arrived = [message for _, message in house.offices.seen]
            assert sorted(arrived, key=lambda body: body.sealed) == bodies

    run(work())


def test_a_service_that_is_not_offered(run, a_house, a_document):
    async def work():
        async with a_house(ledger=None) as house:
            peer = await house.peer()
            with pytest.raises(RemoteRefusal, match="does not offer") as caught:
                await peer.ledger.ask(a_document(Pay, DID, 1, ""))
            assert caught.value.fault is Fault.UNKNOWN

    run(work())
