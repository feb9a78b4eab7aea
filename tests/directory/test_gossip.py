"""Rule: what one directory has all have soon; bodies are fetched by whoever lacks them; a liar costs a bounded bit."""

from circle import Circle, Clock, Node

from gpufair.protocol import gossip_limits
from gpufair.protocol.addresses import Reach
from gpufair.protocol.edge import tls
from gpufair.protocol.messages import Heading, Pull, Tell
from gpufair.provider.directory.documents import Kind, Origin, place_of

CERTIFICATE, REACH = tls.create().certificate, Reach.PRIVATE


def circle(count: int) -> Circle:
    clock = Clock()
    nodes = [Node(n, clock, CERTIFICATE) for n in range(count)]
    return Circle({node.did: node for node in nodes}, clock)


def meshed(count: int) -> tuple[Circle, list[Node]]:
    """Everybody names the first two and has published its record to them, as nodes do; nothing else."""
    made = circle(count)
    nodes = list(made.nodes.values())
    for node in nodes:
        node.publish()
        for first in nodes[:2]:
            first.directory.publish(node.record(), Origin(node.did, Reach.PRIVATE))
        for first in nodes[:2]:
            node.gossip.company.invite(first.did, typed=True)
    return made, nodes


def knows(node: Node, other: Node) -> int:
    return node.directory.tree.get(place_of(Kind.RECORD, other.did.encode()))


def test_all_have_all_after_a_few_rounds():
    made, nodes = meshed(12)
    for _ in range(3):
        made.spread()
        made.round()
    assert {node.directory.tree.digest() for node in nodes} == {nodes[0].directory.tree.digest()}
    assert len(nodes[5].directory.tree) == 12


def test_a_newcomer_that_knows_one_peer_finds_everything():
    made, nodes = meshed(2)
    for n in range(100, 900):
        nodes[0].directory.publish(Node(n, made.clock, CERTIFICATE).record())
    late = Node(50, made.clock, CERTIFICATE)
    made.nodes[late.did] = late
    late.gossip.company.invite(nodes[0].did, typed=True)
    made.round()
    assert late.directory.tree.digest() == nodes[0].directory.tree.digest()
    assert len(late.directory.tree) == 802  # the other one's too, that the first had found
    assert len(list(late.gossip.company)) <= gossip_limits.GOSSIP_PEERS_MAX


def test_when_nothing_is_new_a_round_costs_next_to_nothing():
    made, nodes = meshed(4)
    for n in range(100, 300):
        nodes[0].directory.publish(Node(n, made.clock, CERTIFICATE).record())
    for _ in range(4):
        made.spread()
        made.round()
    assert len({node.directory.tree.digest() for node in nodes}) == 1
    before = [node.bytes_out for node in nodes]
    made.round()
    assert max(node.bytes_out - b for node, b in zip(nodes, before, strict=True)) < 300


def test_what_waits_for_a_peer_that_is_left_alone_is_asked_of_another():
    made, (first, silent, liar, other) = meshed(4)
    for node in (silent, liar, other):
        first.directory.publish(node.record())
        first.gossip.company.invite(node.did, typed=True)
    heading = Heading(place_of(Kind.RECORD, b"somebody"), made.clock.now)
    (asked,) = first.gossip.hear(Tell(silent.did, (heading,)))[1]
    assert first.gossip.hear(Tell(liar.did, (heading,)))[0].wanted
    first.gossip.company.pause(first.gossip.company.get(liar.did), "it lied", made.clock.now)
    assert not first.gossip.failed(asked, "no answer")
    asks = first.gossip.hear(Tell(other.did, (heading,)))[1]
    assert [ask.did for ask in asks if isinstance(ask.request, Pull)] == [other.did]


def test_who_was_gone_and_came_back_keeps_nothing_waiting():
    made, (first, _, gone, other) = meshed(4)
    for node in (gone, other):
        first.directory.publish(node.record())
    first.gossip.company.drop(gone.did)
    wanted, later = (Heading(place_of(Kind.RECORD, name), made.clock.now) for name in (b"somebody", b"another"))
    assert first.gossip.hear(Tell(gone.did, (wanted,)))[1]
    first.gossip.company.drop(gone.did)
    assert first.gossip.hear(Tell(gone.did, (later,)))[1]
    first.gossip.begin()
    asks = first.gossip.hear(Tell(other.did, (wanted,)))[1]
    assert [ask.did for ask in asks if isinstance(ask.request, Pull)] == [other.did]


def test_a_line_that_broke_once_keeps_nobody_waiting_for_a_minute():
    """The newcomer's only peer is out of reach for a moment, just when it is asked for what it has."""
    made, nodes = meshed(2)
    late = Node(50, made.clock, CERTIFICATE)
    made.nodes[late.did] = late
    late.gossip.company.invite(nodes[0].did, typed=True)
    lost = [ask for _ in range(2) for ask in late.gossip.begin()]
    pulls = [ask for one in lost for ask in late.gossip.answered(one, nodes[0].gossip.differ(one.request), REACH)]
    assert any(isinstance(ask.request, Pull) for ask in pulls)
    late.gossip.failed(pulls[-1], "no answer")
    made.round()
    made.round()
    assert knows(late, nodes[0])
