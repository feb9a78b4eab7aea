"""Many directories in one process: real cores, a clock that stands where it is put, questions delivered by hand."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gpufair.protocol import identity, wire
from gpufair.protocol.addresses import Reach
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Compare, Envelope, NodeRecord, Role, Tell
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import OWN
from gpufair.provider.directory.gossip import Ask, Gossip
from gpufair.provider.directory.memory import MemoryDocuments

verify = lru_cache(maxsize=None)(identity.verify)


@dataclass
class Clock:
    now: int = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now


class Dice:
    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        return self._dice.randbytes(count)


@dataclass
class Node:
    number: int
    clock: Clock
    certificate: bytes
    directory: Directory = field(init=False)
    desk: Desk = field(init=False)
    gossip: Gossip = field(init=False)
    bytes_out: int = 0
    tampering: Any = None

    def __post_init__(self) -> None:
        dice = Dice(self.number)
        self.desk = Desk(KeySigner.from_seed((self.number + 1).to_bytes(32, "big")), self.clock, dice)
        self.directory = Directory(MemoryDocuments(), self.clock, verify=verify)
        self.gossip = Gossip(self.desk.did, self.directory, self.clock, dice)

    @property
    def did(self) -> str:
        return self.desk.did

    def record(self, sequence: int | None = None) -> Envelope:
        number, where = sequence or self.clock.now, f"10.0.{self.number // 250}.{self.number % 250 + 1}:7700"
        return self.desk.sign(
            NodeRecord(
                self.desk.broadcast_head(), number, (Role.DIRECTORY,), (where,), self.certificate,
                bytes(32), "test",
            )
        ).envelope  # fmt: skip

    def publish(self, sequence: int | None = None) -> None:
        self.directory.publish(self.record(sequence), OWN)


@dataclass
class Circle:
    """Nodes and the wire between them; `cut` says which pairs hear nothing of each other."""

    nodes: dict[str, Node]
    clock: Clock
    cut: Any = lambda _a, _b: False
    delivered: int = 0

    def round(self) -> None:
        """Everybody compares once, and all that follows from it is said at once."""
        self.clock.now += 10_000
        asks = [(node, ask) for node in self.nodes.values() for ask in node.gossip.begin()]
        self.run(asks)

    def spread(self) -> None:
        """News until nobody has any."""
        while any(node.gossip.has_news for node in self.nodes.values()):
            self.clock.now += 2_500
            self.run([(node, ask) for node in self.nodes.values() for ask in node.gossip.spread()])

    def run(self, asks: Iterable[tuple[Node, Ask]]) -> None:
        waiting = list(asks)
        while waiting:
            following: list[tuple[Node, Ask]] = []
            for asker, ask in waiting:
                following += self._deliver(asker, ask)
            waiting = following

    def _deliver(self, asker: Node, ask: Ask) -> list[tuple[Node, Ask]]:
        self.delivered += 1
        other = self.nodes.get(ask.did)
        if other is None or self.cut(asker, other):
            return [(asker, one) for one in asker.gossip.failed(ask, "no answer")]
        asker.bytes_out += len(wire.encode(ask.request))
        follows: list[tuple[Node, Ask]] = []
        if isinstance(ask.request, Tell):
            reply, more = other.gossip.hear(ask.request)
            follows = [(other, one) for one in more]
        elif isinstance(ask.request, Compare):
            reply = other.gossip.differ(ask.request)
        else:
            reply = other.gossip.give(ask.request)
        if other.tampering is not None:
            reply = other.tampering(ask.request, reply)
        other.bytes_out += len(wire.encode(reply))
        return follows + [(asker, one) for one in asker.gossip.answered(ask, reply, Reach.PRIVATE)]
