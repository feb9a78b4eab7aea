"""Rule: a refusal crosses the wire unchanged; a node's own trouble crosses it as a number, and not one word of it."""

import logging

import pytest

from gpufair.protocol import limits
from gpufair.protocol.edge import status
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.messages import Body, Challenge, Pay

DID = "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"


def refusal_of(run, a_house, a_document, error):
    async def work():
        async with a_house() as house:
            peer = await house.peer()
            house.offices.fail = error
            with pytest.raises(RemoteRefusal) as caught:
                await peer.ledger.ask(a_document(Pay, DID, 1, ""))
            return caught.value

    return run(work())


def test_every_fault_crosses(run, a_house, a_document):
    async def work():
        async with a_house() as house:
            peer = await house.peer()
            for fault in Fault:
                house.offices.fail = PeerError(
                    fault, f"for {fault.name}: 100 % ü \N{SNOWMAN}", hint="do this; then that"
                )
                with pytest.raises(RemoteRefusal) as caught:
                    await peer.ledger.ask(a_document(Pay, DID, 1, ""))
                got = caught.value
                assert (got.fault, got.what, got.hint) == (fault, house.offices.fail.what, "do this; then that")

    run(work())
    assert set(status._CODES) == set(Fault)


def test_texts_are_bounded_and_on_one_line(run, a_house, a_document):
    got = refusal_of(run, a_house, a_document, PeerError(Fault.LIMIT, "\N{SNOWMAN}" * 500, hint="one\ntwo"))
    assert got.what == "\N{SNOWMAN}" * (limits.STATUS_TEXT_MAX // 3)
    assert got.hint == "one two"


def test_control_characters_of_a_peer_do_not_reach_a_terminal():
    """A hostile node writes its own metadata: it need not use our encoder."""
    metadata = (("gpufair-fault", "7"), ("gpufair-what", "%1B%5B2J%E2%80%AEevil%00%FF"), ("gpufair-hint", "%0Aok"))
    error = _rpc_error(metadata)
    got = status.from_status(error, "it")
    assert got.fault is Fault.BAD_SIGNATURE
    assert got.what.isprintable()
    assert "\x1b" not in got.what
    assert got.hint == "ok"


@pytest.mark.parametrize("number", ["", "x", "-1", "99", "1" * 5000, "\N{SUPERSCRIPT TWO}", "7.0"])
def test_a_fault_number_that_we_do_not_know(number):
    got = status.from_status(_rpc_error((("gpufair-fault", number),)), "it")
    assert isinstance(got, RemoteRefusal)
    assert got.fault in (Fault.UNSPECIFIED, Fault.INTERNAL)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ValueError("a secret in /root/.ssh"), Fault.INTERNAL),
        (LocalError(Fault.INTERNAL, "a secret in /root/.ssh"), Fault.INTERNAL),
        (LocalError(Fault.UNAVAILABLE, "a secret in /root/.ssh"), Fault.UNAVAILABLE),
        (PeerUnreachable("the ledger at a secret address"), Fault.UNAVAILABLE),
        (RemoteRefusal(Fault.BAD_SIGNATURE, "a secret of the ledger's"), Fault.UNAVAILABLE),
        (KeyError("secret"), Fault.INTERNAL),
    ],
)
def test_own_trouble_stays_at_home(run, a_house, a_document, caplog, error, fault):
    """The caller learns a log id, under which the owner finds the whole story."""
    with caplog.at_level(logging.ERROR):
        got = refusal_of(run, a_house, a_document, error)
    assert got.fault is fault
    assert "secret" not in str(got)
    log_id = got.what.partition("log id ")[2].rstrip(")")
    assert len(log_id) == 8
    assert any(log_id in record.getMessage() and "secret" in str(record.exc_info) for record in caplog.records)


def test_an_error_in_the_middle_of_a_stream(run, a_house):
    async def work():
        async with a_house() as house:
            house.offices.fail = PeerError(Fault.CONFLICT, "not like this")
            async with (await house.peer()).market.execute() as stream:
                assert await stream.receive() == Challenge(bytes(32))
                await stream.send(Body(bytes(16), b"x"))
                with pytest.raises(RemoteRefusal, match="not like this"):
                    await stream.receive()
                with pytest.raises((RemoteRefusal, PeerUnreachable)):
                    await stream.send(Body(bytes(16), b"x"))

    run(work())


def test_an_error_in_the_middle_of_a_delivery(run, a_house, a_document):
    async def work():
        async with a_house() as house:
            house.offices.fail = PeerError(Fault.UNKNOWN, "no such delivery")
            peer = await house.peer()
            with pytest.raises(RemoteRefusal, match="no such delivery"):
                [part async for part in peer.market.fetch_delivery(a_document(Pay, DID, 1, ""))]

    run(work())


def _rpc_error(metadata):
    import grpc
    from grpc.aio import AioRpcError, Metadata

    return AioRpcError(grpc.StatusCode.INTERNAL, Metadata(), Metadata(*metadata), details="x")
