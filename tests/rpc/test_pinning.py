"""Rule: a connection is made to a certificate that a signed record carries, and to nobody else, by whatever road."""

import asyncio
import socket
from dataclasses import replace

import pytest

from gpufair.protocol import envelope, limits
from gpufair.protocol.addresses import Endpoint
from gpufair.protocol.edge import tls
from gpufair.protocol.edge.channels import Peers, open_channel
from gpufair.protocol.edge.peers import DirectoryPeer
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.edge.system import SystemClock
from gpufair.protocol.errors import Fault, LocalError, PeerError

CLOCK = SystemClock()


def test_meeting_by_address_gives_the_did(run, a_house):
    async def work():
        async with a_house() as house:
            peer = await house.peers.meet(str(house.endpoint))
            assert peer.did == house.card.desk.did
            assert peer.certificate == house.card.tls.certificate
            assert envelope.authenticate(peer.record)
            again = await house.peers.meet(f"{peer.did}@{house.endpoint}")
            assert again is peer

    run(work())


def test_meeting_over_ipv6(run, a_house):
    async def work():
        async with a_house(listen="[::1]:0") as house:
            peer = await house.peers.meet(f"[::1]:{house.server.port}")
            assert str(peer.endpoint) == f"[::1]:{house.server.port}"

    if not _has_ipv6():
        pytest.fail("this machine has no IPv6 loopback: the suite needs it")
    run(work())


def test_meeting_by_name(run, a_house):
    async def work():
        async with a_house() as house:
            peer = await house.peers.meet(f"localhost:{house.server.port}")
            assert peer.did == house.card.desk.did
            house.card.endpoints = (f"LocalHost:{house.server.port}",)
            async with Peers(CLOCK) as others:
                assert (await others.at(house.card.record())).did == peer.did

    run(work())


def test_another_did_than_the_one_given(run, a_house, a_card):
    async def work():
        async with a_house() as house:
            with pytest.raises(PeerError, match="was expected") as caught:
                await house.peers.meet(f"{a_card(9).desk.did}@{house.endpoint}")
            assert caught.value.fault is Fault.NOT_ALLOWED

    run(work())


def test_a_man_in_the_middle_cannot_show_the_nodes_record(run, a_house, a_card):
    """He answers with his own certificate and passes the true node's signed record on."""

    async def work():
        true = a_card()
        async with a_house(replace(a_card(), certificate=true.tls.certificate)) as house:
            for address in (str(house.endpoint), f"{true.desk.did}@{house.endpoint}"):
                with pytest.raises(PeerError, match="another certificate") as caught:
                    await house.peers.meet(address)
                assert caught.value.fault is Fault.NOT_ALLOWED

    run(work())


def test_an_impostor_at_the_records_address(run, a_house, a_card):
    """Somebody with another key took the node's address: the handshake fails, and the reader is told why."""

    async def work():
        async with a_house() as house:
            stolen = a_card(endpoints=(str(house.endpoint),)).record()
            with pytest.raises(PeerUnreachable) as caught:
                await house.peers.at(stolen)
            assert caught.value.impostor
            assert house.offices.seen == []

    run(work())


def test_an_impostor_cannot_pass_by_the_name_in_the_certificate(run, a_house):
    """Every certificate has the same name; only the pinned one opens the door."""

    async def work():
        async with a_house() as house:
            channel = open_channel(house.endpoint, tls.create().certificate)
            with pytest.raises(PeerUnreachable):
                await DirectoryPeer(channel, "it").record()
            await channel.close()

    run(work())


@pytest.mark.parametrize("age_ms", [limits.BROADCAST_TTL_MS + 2 * limits.SKEW_MS, -2 * limits.SKEW_MS])
def test_an_old_or_future_record_is_refused(run, a_house, a_card, age_ms):
    async def work():
        async with a_house(a_card(age_ms=age_ms)) as house:
            with pytest.raises(PeerError) as caught:
                await house.peer()
            assert caught.value.fault is (Fault.EXPIRED if age_ms > 0 else Fault.FROM_THE_FUTURE)

    run(work())


def test_a_record_that_someone_else_signed(run, a_house, a_card):
    async def work():
        async with a_house() as house:
            theirs = house.card.record()
            forged = replace(theirs.envelope, signatures=(replace(theirs.envelope.signatures[0], sig=bytes(64)),))

            async def lying():
                return forged

            house.offices.record = lying
            with pytest.raises(PeerError) as caught:
                await house.peer()
            assert caught.value.fault is Fault.BAD_SIGNATURE
            del house.offices.record  # an honest node again: only the record in our hand is forged
            with pytest.raises(PeerError) as caught:
                await house.peers.at(envelope.read(forged, type(theirs.doc)))
            assert caught.value.fault is Fault.BAD_SIGNATURE

    run(work())


def test_the_first_address_that_answers_is_taken(run, a_house):
    async def work():
        async with a_house() as house:
            house.card.endpoints = (f"127.0.0.1:{_free_port()}", str(house.endpoint))
            peer = await house.peers.at(house.card.record())
            assert peer.endpoint == house.endpoint
            assert await house.peers.at(house.card.record()) is peer

    run(work())


def test_nobody_there_and_no_address(run, a_card):
    async def work():
        async with Peers(CLOCK) as peers:
            with pytest.raises(PeerUnreachable, match="cannot be reached"):
                await peers.meet(f"127.0.0.1:{_free_port()}")
            with pytest.raises(PeerUnreachable, match="no address"):
                await peers.at(a_card().record())
            with pytest.raises(LocalError, match="not an address"):
                await peers.meet("unix:/var/run/docker.sock")

    run(work())


def test_something_that_is_not_a_node(run):
    """A web server's greeting, and a socket that accepts and says nothing: an error within the time allowed."""

    async def work():
        async def greet(_reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await asyncio.sleep(5)

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PeerUnreachable, match="does not speak TLS"):
            await tls.fetch_certificate(Endpoint("127.0.0.1", port))
        server.close()
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            with pytest.raises(PeerUnreachable, match=r"within 0\.2 s"):
                await tls.fetch_certificate(Endpoint("127.0.0.1", mute.getsockname()[1]), timeout_s=0.2)

    run(work())


def test_a_record_is_renewed_on_the_same_connection(run, a_house):
    async def work():
        async with a_house() as house:
            peer = await house.peer()
            before = peer.record.doc.sequence
            await asyncio.sleep(0.005)
            assert (await peer.refresh()).doc.sequence > before
            old, newest = house.card.record(), CLOCK.now_ms() + 60_000
            peer.keep(house.card.desk.sign(replace(old.doc, sequence=newest)))
            peer.keep(old)
            assert peer.record.doc.sequence == newest
            house.card.tls = tls.create()
            with pytest.raises(PeerError, match="another certificate"):
                await peer.refresh()
            assert peer.record.doc.sequence == newest

    run(work())


def test_a_node_that_restarts_is_met_again(run, a_house):
    async def work():
        async with a_house() as first:
            port, card = first.server.port, first.card
            async with Peers(CLOCK) as peers:
                peer = await peers.meet(str(first.endpoint))
                await first.server.stop(0)
                with pytest.raises(PeerUnreachable):
                    await peer.directory.record()
                async with a_house(card, listen=f"127.0.0.1:{port}"):
                    for _ in range(50):
                        try:
                            found = await peer.directory.record()
                        except PeerUnreachable:
                            await asyncio.sleep(0.1)
                        else:
                            break
                    assert found.payload_type == card.record().envelope.payload_type

    run(work())


def test_a_closed_connection_says_so_and_is_not_handed_out_again(run, a_house):
    async def work():
        async with a_house() as house:
            peer = await house.peer()
            await peer.close()
            with pytest.raises(PeerUnreachable, match="was closed"):
                await peer.directory.record()
            with pytest.raises(PeerUnreachable, match="was closed"):
                peer.market.execute()
            assert await house.peer() is not peer

    run(work())


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _has_ipv6():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True
