"""Rule: whom one buyer has caught another one buys nothing from: evidence travels, and is judged where it arrives."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "session"))

from session_steps import delivered

from gpufair.client.market.accusing import accuse
from gpufair.client.market.market import gather
from gpufair.client.wallet import accusations, bans
from gpufair.client.wallet.store import open_wallet
from gpufair.protocol import envelope, evidence, limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge import tls
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.evidence import Proof
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Delivery, Receipt
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.office import DirectoryDesk
from gpufair.provider.directory.store import DirectoryStore
from gpufair.provider.rpc.server import serve

CLOCK, RANDOM = SystemClock(), SystemRandom()


@pytest.fixture
def cheated(deal: Any) -> Any:
    """A wallet whose provider revealed a key that opens something else than its receipt says."""
    d = deal()
    for message in delivered(d):
        if isinstance(message, Delivery):
            doc = replace(envelope.read(message.receipt, Receipt).doc, plain_sha256=bytes(32))
            message = replace(message, receipt=d.desks["provider"].sign(doc).envelope)
        d.say(d.session.on(message))
    d.pump()
    return d


def today(desk: Desk) -> Desk:
    """The same identity, by the clock on the wall: the deal was made in another time."""
    return Desk(desk.signer, CLOCK, RANDOM)


def test_a_wallet_makes_evidence_of_what_it_keeps(cheated: Any) -> None:
    desk = cheated.desks["client"]
    with cheated.wallet.begin() as rows:
        [piece] = accusations.due(rows, desk)
        assert evidence.judge(piece.doc).proof is Proof.PROVED
        assert piece.doc.accused == cheated.desks["provider"].did
        accusations.brought(rows, piece, desk.now_ms())
        assert accusations.due(rows, desk) == []
        later = Desk(desk.signer, replace_clock(desk.now_ms() + limits.EVIDENCE_EPOCH_MS), RANDOM)
        assert len(accusations.due(rows, later)) == 1, "so that it lives on"


def replace_clock(now: int) -> Any:
    class Clock:
        def now_ms(self) -> int:
            return now

    return Clock()


def test_an_honest_wallet_accuses_nobody(deal: Any) -> None:
    d = deal()
    for message in delivered(d):
        d.say(d.session.on(message))
    d.pump()
    with d.wallet.begin() as rows:
        bans.ban(rows, d.desks["provider"].did, "its owner is rude", 1)
        assert accusations.due(rows, d.desks["client"]) == []


def test_what_one_buyer_has_caught_another_one_does_not_buy_from(cheated: Any, a_seller: Any) -> None:
    seller = a_seller(1, CLOCK)
    seller.desk = today(cheated.desks["provider"])
    record = seller.record()

    async def story() -> None:
        identity, directory = tls.create(), Directory(DirectoryStore(None), CLOCK)
        keeper = a_seller(9, CLOCK)
        office = DirectoryDesk(directory, lambda: keeper.record(tls_certificate=identity.certificate).envelope)
        directory.publish(record.envelope)
        directory.publish(seller.offer(record).envelope)
        server = serve(listen="127.0.0.1:0", tls_identity=identity, directory=office)
        await server.start()
        addresses = [PeerAddress(Endpoint("127.0.0.1", port)) for port in (server.port, 9)]
        other = open_wallet(None)
        try:
            async with Peers(CLOCK) as peers:
                assert (await gather(peers, addresses, CLOCK, other)).offers
                assert bans.banned(other) == {}
                me = today(cheated.desks["client"])
                assert await accuse(me, cheated.wallet, peers, addresses) == 1
                assert await accuse(me, cheated.wallet, peers, addresses) == 0
                await gather(peers, addresses, CLOCK, other)
                assert list(bans.banned(other)) == [seller.desk.did]
        finally:
            await server.stop(0)
            office.close()
            other.close()

    asyncio.run(story())


def test_what_nobody_heard_is_told_again(cheated: Any) -> None:
    async def story() -> None:
        async with Peers(CLOCK) as peers:
            nobody = [PeerAddress(Endpoint("127.0.0.1", 9))]
            me = today(cheated.desks["client"])
            assert await accuse(me, cheated.wallet, peers, nobody) == 0
        with cheated.wallet.read() as rows:
            assert len(accusations.due(rows, me)) == 1

    asyncio.run(story())
