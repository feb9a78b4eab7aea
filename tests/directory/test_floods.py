"""Rule: a flood ends at its source's share, an invention delays nobody else's word, and clocks are nobody's crime."""

from dataclasses import replace

import pytest
from circle import Circle, Dice, Node, verify

from gpufair.protocol import gossip_limits, limits, wire
from gpufair.protocol.addresses import Reach
from gpufair.protocol.edge import tls
from gpufair.protocol.envelope import pre_authentication_encoding
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import (
    Bodies,
    Compare,
    Compared,
    Envelope,
    Heading,
    LedgerRef,
    Offer,
    Pull,
    Signature,
    Tell,
)
from gpufair.provider.directory.company import Company, Trouble
from gpufair.provider.directory.directory import Directory, Taken
from gpufair.provider.directory.documents import Kind, Origin, place_of
from gpufair.provider.directory.gossip import Ask, Gossip

CERTIFICATE = tls.create().certificate
HONEST, SYBIL = Origin("honest", Reach.PRIVATE), Origin("sybil", Reach.PRIVATE)
LEDGER = (LedgerRef("did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX", "ledger.example:7700"),)


def offers(publisher, seeds):
    return [publisher(seed).offer(ledgers=LEDGER).envelope for seed in seeds]


def stored(outcomes):
    return sum(isinstance(one, Taken) and one.stored for one in outcomes)


def shown(directory):
    found, after = [], None
    while after != "":
        page, after = directory.find_offers((), after or "")
        found += page
    return found


# --- the house is full -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flood_first", [False, True])
def test_a_sybil_flood_through_one_source_pushes_no_honest_offer_out(store, clock, publisher, small_house, flood_first):
    small_house(DIRECTORY_RECORDS_MAX=60)
    directory = Directory(store, clock, verify=verify)
    honest, sybils = offers(publisher, range(1, 26)), offers(publisher, range(1000, 1200))
    for flood in (flood_first, not flood_first):
        for one in sybils if flood else honest:
            clock.now += 1
            directory.take([one], SYBIL if flood else HONEST)
    kept = shown(directory)
    assert all(one in kept for one in honest)
    assert directory.rows == 60
    assert directory.sources() == {"honest": 25, "sybil": 35}


def test_a_flood_of_large_offers_ends_at_its_share_of_the_bytes(store, clock, publisher, small_house):
    honest = offers(publisher, range(1, 11))
    size = len(publisher(1).offer(ledgers=LEDGER).bytes)
    small_house(DIRECTORY_BYTES_MAX=size * 40)
    directory = Directory(store, clock, verify=verify)
    assert stored(directory.take(honest, HONEST)) == 10
    large = tuple(replace(LEDGER[0], endpoint=f"ledger-{n}.example:7700") for n in range(16))
    for seed in range(1000, 1060):
        directory.take([publisher(seed).offer(ledgers=large).envelope], SYBIL)
    assert all(one in shown(directory) for one in honest)
    assert directory.size <= size * 40


def test_of_one_source_whoever_is_known_for_longest_stays(store, clock, publisher, small_house):
    """Honest offers that came through the peer which is flooded later outlive the flood."""
    small_house(DIRECTORY_RECORDS_MAX=20)
    directory = Directory(store, clock, verify=verify)
    old = offers(publisher, range(1, 16))
    directory.take(old, SYBIL)
    clock.now += limits.MINUTE
    directory.take(offers(publisher, range(1000, 1100)), SYBIL)
    for one in offers(publisher, range(2000, 2003)):
        assert stored(directory.take([one], HONEST)) == 1
    assert all(one in shown(directory) for one in old)


def test_the_nodes_own_offer_never_gives_way(store, clock, publisher, small_house):
    small_house(DIRECTORY_RECORDS_MAX=5)
    directory = Directory(store, clock, verify=verify)
    own = publisher(1).offer(ledgers=LEDGER).envelope
    directory.publish(own)
    directory.take(offers(publisher, range(1000, 1050)), SYBIL)
    assert own in shown(directory)
    assert directory.publish(publisher(1).record().envelope)[1]


# --- what nobody could mean ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "absurd",
    [
        {"queue_free": -1},
        {"window_max": limits.AMOUNT_MAX + 1},
        {"cpu_cores": 2**62},
        {"memory_bytes": -(2**40)},
        {"floor_milli": 2**40},
        {"notice_max_ms": limits.NOTICE_MAX_MS + 1},
        {"sequence": 0},
        {"region": "x" * (limits.NAME_MAX + 1)},
    ],
)
def test_numbers_beyond_every_bound_are_refused(directory, publisher, absurd):
    me = publisher(1)
    offer = wire.to_generated(me.offer(ledgers=LEDGER).doc)
    for name, value in absurd.items():
        setattr(offer, name, value)
    with pytest.raises(PeerError) as caught:
        directory.publish(signed(me, offer.SerializeToString()))
    assert caught.value.fault in (Fault.MALFORMED, Fault.TOO_LARGE)
    assert directory.rows == 0
    assert directory.publish(signed(me, me.offer(ledgers=LEDGER).envelope.payload))[1]


def signed(publisher, payload):
    """Whatever the payload says: our own code would not sign it."""
    claim = pre_authentication_encoding(Offer.TYPE, payload)
    return Envelope(payload, Offer.TYPE, (Signature(publisher.did, publisher.desk.signer.sign(claim)),))


# --- what peers say --------------------------------------------------------------------------------------------------


class Pair:
    """One directory, and the others that it is told of; the test speaks for them."""

    def __init__(self, clock) -> None:
        self.me = Node(1, clock, CERTIFICATE)
        self.clock = clock
        self.friend = self.member(2)

    def member(self, number: int) -> Node:
        other = self.known(number)
        self.me.gossip.greet(other.did)
        return other

    def known(self, number: int) -> Node:
        """Somebody whose record is here, and for whom there was no room in our company."""
        other = Node(number, self.clock, CERTIFICATE)
        self.me.directory.publish(other.record(1), Origin("somebody", Reach.PRIVATE))
        self.me.gossip.company.drop(other.did)
        return other

    def hear(self, teller: Node, place: bytes, sequence: int) -> list[Ask]:
        return self.me.gossip.hear(Tell(teller.did, (Heading(place, sequence),)))[1]

    def answer(self, ask: Ask, *documents) -> list[Ask]:
        return self.me.gossip.answered(ask, Bodies(tuple(documents)), Reach.PRIVATE)

    @property
    def mate(self):
        return self.me.gossip.company.get(self.friend.did)


@pytest.fixture
def pair(clock):
    return Pair(clock)


def record_place(node):
    return place_of(Kind.RECORD, node.did.encode())


def test_an_invented_sequence_keeps_nobodys_document_away(pair, clock):
    """Whoever tells in others' names that a document has a sequence which it hasn't delays nothing."""
    seller, liar = Node(7, clock, CERTIFICATE), pair.known(3)
    place = record_place(seller)
    [lie] = pair.hear(liar, place, 2**60)
    assert lie.did == liar.did
    assert pair.answer(lie) == []
    [ask] = pair.hear(pair.friend, place, 5)
    assert ask == Ask(pair.friend.did, Pull((place,)))
    pair.answer(ask, seller.record(5))
    assert pair.me.directory.tree.get(place) == 5
    assert pair.hear(liar, place, 2**61) == []  # its own promise is not asked about again so soon
    [again] = pair.hear(pair.friend, place, 2**60)  # the friend's are, false as somebody made this one
    pair.answer(again, seller.record(6))
    assert pair.me.directory.tree.get(place) == 6
    assert pair.hear(pair.friend, place, 7)


def test_guests_that_promise_everything_do_not_crowd_a_peer_out(pair, clock):
    seller = Node(7, clock, CERTIFICATE)
    place, guests = record_place(seller), [pair.known(n) for n in range(100, 110)]
    [ask] = [ask for guest in guests for ask in pair.hear(guest, place, 5)]
    assert pair.hear(pair.friend, place, 5) == []  # one is asked at a time
    for _ in range(gossip_limits.GOSSIP_FAN_OUT):
        [ask] = pair.answer(ask)
        if ask.did == pair.friend.did:
            break
    pair.answer(ask, seller.record(5))
    assert pair.me.directory.tree.get(place) == 5


def test_a_peer_that_passes_on_what_does_not_prove_itself_is_left_alone(pair, clock):
    seller = Node(7, clock, CERTIFICATE)
    [ask] = pair.hear(pair.friend, record_place(seller), 5)
    real = seller.record(5)
    forged = replace(real, signatures=(replace(real.signatures[0], sig=bytes(64)),))
    assert pair.answer(ask, forged) == []
    assert pair.mate.trouble is Trouble.DISPROVED
    assert pair.hear(pair.friend, record_place(seller), 5) == []
    assert pair.me.gossip.begin() == []
    clock.now += gossip_limits.GOSSIP_PAUSE_MS
    assert [ask.did for ask in pair.me.gossip.begin()] == [pair.friend.did]


def test_what_nobody_asked_for_is_not_taken(pair, clock):
    seller, other = Node(7, clock, CERTIFICATE), Node(8, clock, CERTIFICATE)
    [ask] = pair.hear(pair.friend, record_place(seller), 5)
    pair.answer(ask, other.record(5))
    assert pair.me.directory.held(record_place(other)) is None
    assert pair.mate.trouble is Trouble.DISPROVED


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_an_hour_off_is_nobodys_crime(pair, clock, hours):
    """Its own documents can't be taken, and the peer is told of as such; what it has of others is."""
    astray = Node(7, replace(clock, now=clock.now + hours * limits.HOUR), CERTIFICATE)
    right = Node(8, clock, CERTIFICATE)
    places = (record_place(astray), record_place(right))
    [ask] = pair.me.gossip.hear(Tell(pair.friend.did, tuple(Heading(place, 5) for place in places)))[1]
    pair.answer(ask, astray.record(5), right.record(5))
    assert [pair.me.directory.tree.get(place) for place in places] == [0, 5]
    assert pair.mate.trouble is Trouble.CLOCK
    assert ("future" if hours > 0 else "expired") in pair.mate.why
    assert pair.mate.paused_until_ms <= clock.now
    assert pair.me.gossip.begin()


def test_a_neighbours_neighbour_that_only_it_can_reach_is_nobodys_crime(pair, clock, publisher):
    """It runs beside the friend, on its machine: the friend shows it to everybody, and we can't use it."""
    beside = publisher(9)
    place = place_of(Kind.RECORD, beside.did.encode())
    [ask] = pair.hear(pair.friend, place, 5)
    pair.answer(ask, beside.record(5, endpoints=("127.0.0.1:7700",)).envelope)
    assert pair.me.directory.held(place) is None
    assert pair.mate.trouble is Trouble.ASTRAY
    assert "this machine" in pair.mate.why
    assert pair.me.gossip.begin()


def test_a_full_house_says_so(clock, publisher, store, small_house):
    small_house(DIRECTORY_RECORDS_MAX=2)
    directory = Directory(store, clock, verify=verify)
    gossip = Gossip("did:key:me", directory, clock, Dice(1))
    friend = Node(2, clock, CERTIFICATE)
    for seed in (1, 2):
        directory.publish(publisher(seed).offer(ledgers=LEDGER).envelope, Origin(friend.did, Reach.PRIVATE))
    gossip.greet(friend.did)
    late = Node(7, clock, CERTIFICATE)
    [ask] = gossip.hear(Tell(friend.did, (Heading(record_place(late), 5),)))[1]
    gossip.answered(ask, Bodies((late.record(5),)), Reach.PRIVATE)
    mate = gossip.company.get(friend.did)
    assert mate is not None
    assert mate.trouble is Trouble.FULL
    assert "1 of 1" in mate.why


def test_what_a_round_finds_is_told(pair):
    """Level with us, empty, or gone: each is seen in the peer."""
    [ask] = pair.me.gossip.begin()
    assert isinstance(ask.request, Compare)
    pair.me.gossip.answered(ask, Node(3, pair.clock, CERTIFICATE).gossip.differ(ask.request), Reach.PRIVATE)
    assert pair.mate.trouble is Trouble.EMPTY
    pair.me.gossip.answered(ask, Compared(), Reach.PRIVATE)
    assert (pair.mate.trouble, pair.mate.level_ms) == (Trouble.NONE, pair.clock.now)
    pair.me.gossip.failed(ask, "connection refused")
    assert (pair.mate.trouble, pair.mate.why) == (Trouble.UNREACHABLE, "connection refused")
    pair.clock.now += limits.MINUTE
    pair.me.gossip.answered(ask, Compared(), Reach.PRIVATE)
    assert (pair.mate.trouble, pair.mate.why) == (Trouble.NONE, "")


# --- silence ---------------------------------------------------------------------------------------------------------


def waits(company: Company, did: str, clock, times: int) -> list[int]:
    found = []
    for _ in range(times):
        mate = company.get(did)
        if mate is None:
            break
        company.failed(mate, Trouble.UNREACHABLE, "silence", clock.now)
        company.failed(mate, Trouble.UNREACHABLE, "of questions that were under way together", clock.now)
        found.append(mate.paused_until_ms - clock.now)
        clock.now = mate.paused_until_ms
    return found


def test_silence_costs_longer_and_longer_waits(clock):
    dice = Dice(3)
    company = Company("me", lambda below: int.from_bytes(dice.bytes(8), "big") % below)
    company.invite("named", typed=True)
    company.invite("learned")
    learned, named = (waits(company, did, clock, 12) for did in ("learned", "named"))
    assert len(learned) == gossip_limits.GOSSIP_FAILURES_MAX
    assert "learned" not in company
    assert "named" in company
    for number, wait in enumerate(learned):
        assert 0.75 <= wait / (gossip_limits.GOSSIP_BACK_OFF_MS * 2**number) <= 1.25
    assert max(named) <= 1.25 * gossip_limits.GOSSIP_NAMED_PAUSE_MS
    assert len(set(named[-6:])) > 1  # those who lost it together don't all return together


def test_a_named_peer_is_asked_in_every_round(clock):
    circle = Circle({}, clock)
    me = Node(1, clock, CERTIFICATE)
    me.gossip.greet("named")
    for n in range(100, 400):
        me.gossip.company.invite(f"sybil {n}")
    assert len(list(me.gossip.company)) == gossip_limits.GOSSIP_PEERS_MAX
    for _ in range(10):
        circle.clock.now += 10_000
        assert "named" in [ask.did for ask in me.gossip.begin()]
