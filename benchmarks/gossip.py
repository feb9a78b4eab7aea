"""How fast news goes round among directories, and what being at one costs. ONE RULE: time is virtual, bytes are real.

Rounds: nodes of one network, all at one; one of them shows a new offer. A round is the period in which each node
compares itself with two others once; counted is the one in which a node has the offer. The peer is the same core that
is kept from telling news, so that differences are found by comparing alone. Bytes: everybody renews record and offer
three times in their lives, as `gpufaird` does; the peer is what can't be saved, each document once to each node.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.directories import RENEWED_MS, Net, Node, remembering
from benchmarks.rows import Row, Samples
from benchmarks.running import Options, say
from gpufair.protocol import gossip_limits, limits
from gpufair.provider.directory import documents
from gpufair.provider.directory.documents import Held, Read

NODES, SHARE, ROUNDS_GOAL = 200, 0.95, 3
SIZES = (50, 100, 200, 400)
PERIOD_MS = gossip_limits.GOSSIP_PERIOD_MS
_SETTLING_MS = 6 * PERIOD_MS
_WATCHED_MS = 4 * PERIOD_MS
_COUNTED_MS = RENEWED_MS // 3
"""Long enough to count bytes: renewals are spread evenly."""


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    nodes, offers = options.rounds(NODES, 50), options.rounds(12, 4)
    with remembering():
        told = _spread(nodes, offers, tells=True)
        say(f"gossip: {offers} offers among {nodes} nodes, told on")
        compared = _spread(nodes, max(2, offers // 4), tells=False)
        say(f"gossip: {nodes} nodes that only compare")
        yield _row(nodes, told, compared)
        for count in SIZES[: options.rounds(len(SIZES), 1)]:
            began = time.monotonic()
            yield _bytes_row(count)
            say(f"gossip: a renewal of everything among {count} nodes, {time.monotonic() - began:.0f} s")


def _spread(count: int, offers: int, *, tells: bool) -> list[list[int]]:
    """For each new offer: after how many ms each other node had it, sorted; a node that never had it stands last."""
    net = Net(count, seed=count, tells=tells)
    net.run(_SETTLING_MS if tells else 3 * _SETTLING_MS)
    found = []
    for _ in range(offers):
        publisher = net.dice.choice(net.nodes)
        since, arrived = net.now, dict[int, int]()
        offer = publisher.offer()
        mine = documents.read(offer)

        def taken(
            node: Node, held: Held, mine: Read = mine, since: int = since, seen: dict[int, int] = arrived
        ) -> None:
            # Or a later one, should its publisher have renewed it meanwhile.
            if held.place == mine.place and held.sequence >= mine.sequence:
                seen.setdefault(node.number, net.now - since)

        net.taken = taken
        publisher.show(offer)
        net.run(_WATCHED_MS)
        late = [limits.BROADCAST_TTL_MS] * (count - len(arrived))
        found.append(sorted([ms for number, ms in arrived.items() if number != publisher.number] + late))
    return found


def _row(nodes: int, told: list[list[int]], compared: list[list[int]]) -> Row:
    ours, peer = (Samples([_at(times, SHARE) for times in one]) for one in (told, compared))
    rounds = -(-max(ours.values) // PERIOD_MS)
    return Row(
        "gossip.rounds", rounds, -(-max(peer.values) // PERIOD_MS), f"rounds to {SHARE:.0%} of {nodes} nodes, at worst",
        f"≤ {ROUNDS_GOAL} rounds", met=rounds <= ROUNDS_GOAL,
        detail={
            "offers": len(told), "round_s": PERIOD_MS / 1000, "histogram_percent_of_nodes_by_round": _histogram(told),
            "comparing_alone_percent_by_round": _histogram(compared), "ms_to_95_percent": ours.summary(),
            "ms_to_half": Samples([_at(times, 0.5) for times in told]).summary(),
            "ms_to_all": Samples([float(times[-1]) for times in told]).summary(),
        },
    )  # fmt: skip


def _at(times: list[int], share: float) -> float:
    return float(times[min(len(times) - 1, int(share * len(times)))])


def _histogram(found: list[list[int]]) -> dict[str, float]:
    """By round, the share of nodes (in per cent) that had an offer in it for the first time."""
    counts = Counter(ms // PERIOD_MS + 1 for times in found for ms in times)
    total = sum(counts.values())
    return {str(number): round(100 * counts[number] / total, 2) for number in sorted(counts)}


def _bytes_row(count: int) -> Row:
    net = Net(count, seed=count)
    net.run(_SETTLING_MS)
    before = net.traffic.calls, net.traffic.sent, net.traffic.bodies
    net.run(_COUNTED_MS)
    calls, sent, bodies = (
        now - then for now, then in zip((net.traffic.calls, net.traffic.sent, net.traffic.bodies), before, strict=True)
    )
    once = sum(len(one.payload) for one in (net.nodes[0].record(), net.nodes[0].offer())) * count
    hour = limits.HOUR / _COUNTED_MS
    detail = {
        "calls_per_node_and_s": round(calls / count / (_COUNTED_MS / 1000), 2), "documents": 2 * count,
        "document_bytes_percent": round(100 * bodies / sent, 1), "renewed_every_s": RENEWED_MS / 1000,
    }  # fmt: skip
    return Row(
        f"gossip.bytes.{count}",
        sent / count * hour / 1e6,
        once * limits.HOUR / RENEWED_MS / 1e6,
        "MB/node and hour",
        detail=detail,
    )
