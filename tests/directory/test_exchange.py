"""Rule: over the wire as in the core; nobody is dialled because a stranger wrote down an address that is too near."""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
from houses import CLOCK, House, houses, stranger, until

from gpufair.protocol import limits
from gpufair.protocol.addresses import Reach
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Compare, Heading, Pull, Tell
from gpufair.protocol.messages.gossip import Branch
from gpufair.provider import neighbours
from gpufair.provider.directory.company import Trouble
from gpufair.provider.directory.documents import Kind, place_of
from gpufair.provider.rpc import guard, publisher


def run(work):
    async def bounded():
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


def test_a_newcomer_that_knows_one_peer_finds_all_and_is_found_by_all():
    """It knows the second, which knows the first: what it publishes travels on, and what they know comes back."""

    async def work():
        first = House(1)
        await first.start()
        for seed in range(100, 180):
            await first.office.publish(stranger(seed))
        second = House(2, [first.address])
        await second.start()
        newcomer = House(3, [f"{second.did}@{second.address}"])
        await newcomer.start()
        try:
            await until(lambda: len(newcomer.directory.tree) == 83, "the newcomer does not find everybody")
            await until(lambda: first.has(newcomer.did), "the first does not hear of the newcomer")
            await until(lambda: newcomer.gossip.company.is_member(first.did), "the first is no company")
            assert newcomer.directory.sources()[second.did] > 80
        finally:
            for house in (newcomer, second, first):
                await house.stop()

    run(work())


def test_news_is_told_and_fetched():
    async def work():
        async def tell(house, seed):
            await house.office.publish(stranger(seed))

        first, second = House(1), House(2)
        async with houses(first):
            second = House(2, [first.address])
            async with houses(second):
                await until(lambda: first.has(second.did) and second.has(first.did), "they do not meet")
                await tell(first, 50)
                await until(lambda: len(second.directory.tree) == 3, "the second hears nothing")
                await tell(second, 51)
                await until(lambda: len(first.directory.tree) == 4, "the first hears nothing")
                assert first.directory.sources()["ipv4:127.0.0.1"] == 1  # its publisher's address answers for it

    run(work())


def test_a_peer_that_wants_to_be_asked_more_slowly_is(monkeypatch):
    for method in ("Differ", "Give"):
        monkeypatch.setitem(guard.PRICES, f"/gpufair.v1.Directory/{method}", limits.BUCKET_BURST // 2)

    async def work():
        first = House(1)
        await first.start()
        for seed in range(100, 240):
            await first.office.publish(stranger(seed))
        second = House(2, [first.address])
        async with houses(second):
            await until(lambda: len(second.directory.tree) == 142, "it does not get all")
            mate = second.gossip.company.get(first.did)
            assert mate is not None
            assert mate.failures == 0
        await first.stop()

    run(work())


def test_a_peer_that_is_gone_is_waited_for_and_found_again():
    async def work():
        first = House(1)
        await first.start()
        port = first.port
        second = House(2, [first.address])
        async with houses(second):
            await until(lambda: second.has(first.did), "they do not meet")
            await first.stop()
            await second.office.begin()
            mate = second.gossip.company.get(first.did)
            assert mate is not None
            await until(lambda: mate.trouble is Trouble.UNREACHABLE, "nobody notices")
            assert mate.paused_until_ms > mate.seen_ms
            again = House(1)
            again.tls = first.tls
            await again.start(port)
            try:
                mate.paused_until_ms = 0  # as if the wait were over
                await second.office.begin()
                await until(lambda: mate.trouble is Trouble.NONE, "it is not found again")
            finally:
                await again.stop()

    run(work())


def test_a_peer_that_has_lost_all_is_shown_our_record_again(monkeypatch):
    """Else it would take our news for a stranger's until the record is renewed."""
    monkeypatch.setattr(publisher, "_AGAIN_S", 0.1)

    async def work():
        first = House(1)
        await first.start()
        second = House(2, [first.address])
        async with houses(second):
            await until(lambda: first.has(second.did), "they do not meet")
            await first.stop()
            again = House(1)
            again.tls = first.tls
            await again.start(first.port)
            try:
                await until(lambda: again.has(second.did), "it stays a stranger")
            finally:
                await again.stop()

    run(work())


def test_somebody_else_at_a_named_address_is_met_as_who_it_is():
    async def work():
        first = House(1)
        await first.start()
        second = House(2, [first.address])
        async with houses(second):
            await until(lambda: second.publisher.states[0].did == first.did, "they do not meet")
            await first.stop()
            other = House(9)
            await other.start(first.port)
            try:
                state = second.publisher.states[0]
                state.told, state.not_before_s = b"", 0.0  # as at the next renewal
                await until(lambda: state.did == other.did, "the other is not met")
                assert set(second.publisher.named) == {other.did}
                typed = {mate.did: mate.typed for mate in second.gossip.company}
                assert typed[other.did]
                assert not typed.get(first.did)
            finally:
                await other.stop()

    run(work())


@dataclass
class Off:
    """A clock that somebody set wrong."""

    hours: int

    def now_ms(self) -> int:
        return CLOCK.now_ms() + self.hours * limits.HOUR


@pytest.mark.parametrize("hours", [1, -1])
def test_a_named_peer_whose_clock_is_an_hour_off_is_told_to_both_owners(hours):
    """Neither takes a document of the other's; the status of each names the reason, and nobody is thrown out."""

    async def work():
        off = House(1, clock=Off(hours))
        async with houses(off):
            good = House(2, [off.address])
            async with houses(good):
                late = House(3, [good.address], clock=Off(hours))
                async with houses(late):
                    for house, other in ((good, off), (late, good)):
                        now = house.desk.now_ms()
                        [peer] = neighbours.peers(house.publisher.states, await house.office.standing(), now)
                        assert peer["trouble"] == "clock off", peer
                        assert peer["address"] == other.address
                        assert peer["why"]
                        assert not house.has(other.did)

    run(work())


def test_a_node_without_the_role_answers_no_gossip():
    async def work():
        keeps = House(1)
        keeps.office._gossip = None
        async with houses(keeps):
            other = House(2)
            peer = await other.peers.meet(keeps.address)
            for ask in (
                peer.directory.differ(Compare((Branch("", b""),))),
                peer.directory.hear(Tell(other.did, (Heading(bytes(16), 1),))),
                peer.directory.give(Pull((bytes(16),))),
            ):
                with pytest.raises(PeerError) as caught:
                    await ask
                assert caught.value.fault is Fault.NOT_ALLOWED
            await other.peers.close()
            other.office.close()

    run(work())


# --- who is dialled --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "heard", "leads_to"),
    [
        ("127.0.0.1", Reach.GLOBAL, ()),
        ("127.0.0.1", Reach.PRIVATE, ()),
        ("[::ffff:127.0.0.1]", Reach.PRIVATE, ()),
        ("victim.example", Reach.GLOBAL, ("127.0.0.1",)),
        ("victim.example", Reach.PRIVATE, ("127.0.0.1",)),
        ("victim.example", Reach.LOOPBACK, ("::ffff:127.0.0.1",)),
    ],
)
def test_a_learned_address_on_this_machine_gets_no_connection(endpoint, heard, leads_to):
    """A real port listens there, and nobody ever knocks."""

    async def work():
        async def find(_name):
            return leads_to

        knocks = []
        victim = await asyncio.start_server(lambda *_: knocks.append(1), "127.0.0.1", 0)
        port = victim.sockets[0].getsockname()[1]
        me, attacker = House(1, find=find), House(2)
        async with houses(me):
            record = attacker.record(f"{endpoint}:{port}")
            with nullcontext() if leads_to else pytest.raises(PeerError):  # an address doesn't even get this far
                await me.office.publish(record, "attacker", heard)
            me.gossip.greet(attacker.did)  # whatever brought it into our company
            with pytest.raises((PeerError, PeerUnreachable)):
                await me.roads.to(attacker.did)
            place = place_of(Kind.RECORD, attacker.did.encode())
            await me.office.hear(Tell(attacker.did, (Heading(place, 2**40),)))
            await me.office.begin()
            await until(me.office.asks.empty, "the questions are not asked")
            await asyncio.sleep(0.05)
            assert not knocks
            attacker.office.close()
        victim.close()

    run(work())


def test_what_a_person_named_is_dialled_as_it_is():
    async def work():
        first = House(1)
        async with houses(first):
            second = House(2, [f"localhost:{first.port}"])
            async with houses(second):
                await until(lambda: second.has(first.did), "they do not meet")
                assert (await second.roads.to(first.did)).heard is Reach.LOOPBACK

    run(work())
