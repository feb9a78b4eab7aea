"""Rule: a directory keeps little evidence against each accused, all of which shows something, and passes it on."""

from dataclasses import replace

import pytest
from circle import Circle, Node, verify

from gpufair.protocol import evidence, limits
from gpufair.protocol.addresses import Reach
from gpufair.protocol.edge import tls
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Crime
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import OWN, Kind, Origin

CERTIFICATE = tls.create().certificate


def head(bringer, now):
    return replace(bringer.desk.broadcast_head(), issued_at_ms=now, expires_at_ms=now + limits.EVIDENCE_TTL_MS)


@pytest.fixture
def brought(publisher, clock):
    """Evidence that one identity brings against another one, which did sign two records of one sequence."""

    def make(seed, bringer=500, **fields):
        cheat, by = publisher(seed), publisher(bringer)
        pair = (cheat.record(5).envelope, cheat.record(5, software="another one").envelope)
        found = evidence.two_broadcasts(head(by, clock.now), *pair)
        return by.desk.sign(replace(found, **fields)).envelope

    return make


def refused(directory, document):
    with pytest.raises(PeerError) as caught:
        directory.publish(document)
    return caught.value.fault


def test_what_proves_itself_is_kept_and_found_by_the_accused(directory, brought, publisher):
    assert directory.publish(brought(1))[1]
    assert directory.publish(brought(2))[1]
    assert len(directory.find_evidence()[0]) == 2
    assert directory.find_evidence((publisher(1).did,)) == ([brought(1)], "")
    assert directory.find_evidence((publisher(3).did,)) == ([], "")
    assert directory.counts()[Kind.EVIDENCE] == 2


def test_slander_is_not_kept(directory, brought, publisher):
    """Against somebody else, of another crime, changed, or signed by nobody."""
    good = brought(1)
    unsigned = replace(good, signatures=(replace(good.signatures[0], sig=bytes(64)),))
    assert refused(directory, brought(1, accused=publisher(2).did)) is Fault.MALFORMED
    assert refused(directory, brought(1, crime=Crime.NOISE)) is Fault.MALFORMED
    assert refused(directory, brought(1, documents=())) is Fault.MALFORMED
    assert refused(directory, unsigned) is Fault.BAD_SIGNATURE
    assert directory.rows == 0


def test_one_piece_convicts_and_another_one_takes_no_more_room(directory, brought, clock):
    first = brought(1, bringer=500)
    directory.publish(first)
    clock.now += limits.MINUTE
    assert not directory.publish(brought(1, bringer=501))[1]
    assert directory.find_evidence()[0] == [first]
    clock.now += limits.EVIDENCE_EPOCH_MS
    assert directory.publish(brought(1, bringer=501))[1]  # so that it lives on, as long as somebody brings it
    assert directory.counts()[Kind.EVIDENCE] == 1


def test_it_lives_for_its_time_and_no_longer(directory, brought, clock):
    document = brought(1)
    directory.publish(document)
    clock.now += limits.EVIDENCE_TTL_MS - 1
    directory.prune()
    assert directory.counts()[Kind.EVIDENCE] == 1
    clock.now += 1
    directory.prune()
    assert directory.counts()[Kind.EVIDENCE] == 0
    clock.now += limits.SKEW_MS + 1
    assert refused(directory, document) is Fault.EXPIRED


def test_pages_go_by_place(directory, brought, small_house):
    small_house(FIND_MAX=3)
    for accused in range(1, 8):
        directory.publish(brought(accused))
    found, after, pages = [], "", 0
    while pages < 9:
        page, after = directory.find_evidence((), after)
        found, pages = found + page, pages + 1
        if not after:
            break
    assert (len(found), len({one.payload for one in found}), pages) == (7, 7, 3)


def test_neither_flood_reaches_the_others_room(store, clock, brought, publisher, small_house):
    small_house(DIRECTORY_RECORDS_MAX=10, EVIDENCE_MAX=4)
    directory = Directory(store, clock, verify=verify)
    directory.publish(brought(1), Origin("honest", Reach.PRIVATE))
    for seed in range(1000, 1040):
        flood = Origin("flood", Reach.LOOPBACK)
        directory.take([publisher(seed).record().envelope, brought(seed)], flood)
    assert directory.counts() == {Kind.RECORD: 10, Kind.OFFER: 0, Kind.EVIDENCE: 4}
    assert directory.find_evidence((publisher(1).did,))[0] == [brought(1)]


def test_it_travels_with_gossip(clock, brought):
    nodes = [Node(n, clock, CERTIFICATE) for n in range(4)]
    circle = Circle({node.did: node for node in nodes}, clock)
    for node, other in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        node.publish()
        other.directory.publish(node.record(), Origin(node.did, Reach.PRIVATE))
        node.gossip.greet(other.did)
    document = brought(1)
    nodes[0].directory.publish(document, OWN)
    for _ in range(6):
        circle.spread()
        circle.round()
    assert all(node.directory.find_evidence()[0] == [document] for node in nodes)
