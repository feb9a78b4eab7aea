"""Many directories in one process, on a clock that jumps. ONE RULE: what they say is the real gossip's, to the byte.

What a daemon does around it is played: a round now and then, news after a moment, one question at a time to each peer,
and a network that takes a few hundredths of a second each way and loses nothing.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from gpufair.protocol import gossip_limits, identity, limits, wire
from gpufair.protocol.addresses import Reach
from gpufair.protocol.edge import tls
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    BidClass,
    Compare,
    Envelope,
    Isolation,
    JobLimits,
    LedgerRef,
    ModelOffer,
    ModelState,
    NodeRecord,
    Offer,
    Precision,
    PriceSheet,
    Role,
    Scheduler,
    Task,
    Tell,
    WorkerImage,
)
from gpufair.provider.directory import documents
from gpufair.provider.directory.asks import Ask, Reply
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import Held, Origin
from gpufair.provider.directory.gossip import Gossip
from gpufair.provider.directory.memory import MemoryDocuments

START = 1_800_000_000_000
RENEWED_MS = limits.BROADCAST_TTL_MS // 3
NAMED = 2
"""Peers in each node's configuration."""
MODELS = 3
_DELAY_MS = (10, 80)
_verify = lru_cache(maxsize=None)(identity.verify)
_CERTIFICATE = tls.create().certificate


@contextmanager
def remembering() -> Iterator[None]:
    """Hundreds of directories read the same documents: here each is read once. It changes what is said in nothing."""
    before = documents.read, documents.parsed, documents.check_sense
    documents.read, documents.parsed, documents.check_sense = (lru_cache(maxsize=None)(one) for one in before)
    try:
        yield
    finally:
        documents.read, documents.parsed, documents.check_sense = before


@dataclass
class Traffic:
    """What all of them have said: questions, and bytes of the messages both ways (TLS and HTTP/2 come on top)."""

    calls: int = 0
    sent: int = 0
    bodies: int = 0
    """Of the bytes, those of documents."""


class Net:
    """The clock, the chance and the wire. `tells`: whether news is told, or found by comparing alone."""

    def __init__(self, count: int, seed: int, *, tells: bool = True) -> None:
        self.now, self.dice, self.tells, self.count = START, Random(seed), tells, count
        self.traffic = Traffic()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.taken: Callable[[Node, Held], None] = lambda _node, _held: None
        self.nodes = [Node(self, number) for number in range(count)]
        self.by_did = {node.did: node for node in self.nodes}
        for node in self.nodes:
            others = [one for one in self.nodes if one is not node]
            node.begin([one.did for one in self.dice.sample(others, min(NAMED, len(others)))])

    def now_ms(self) -> int:
        """The clock of all of them."""
        return self.now

    def bytes(self, count: int) -> bytes:
        """Chance."""
        return self.dice.randbytes(count)

    def later(self, ms: float, act: Callable[[], None]) -> None:
        """Let something happen."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + int(ms), self._count, act))

    def delay(self) -> int:
        """How long a message takes."""
        return self.dice.randrange(*_DELAY_MS)

    def run(self, ms: int) -> None:
        """Let so much time pass."""
        end = self.now + ms
        while self._heap and self._heap[0][0] <= end:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        self.now = end


@dataclass
class Node:
    """A provider with a directory."""

    net: Net
    number: int
    named: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = Desk(KeySigner.from_seed((self.number + 1).to_bytes(32, "big")), self.net, self.net)
        self.did = self.desk.did
        self.directory = Directory(MemoryDocuments(), self.net, verify=_verify)
        self.directory.listeners.append(lambda held, _doc: lambda: self.net.taken(self, held))
        self.gossip = Gossip(self.did, self.directory, self.net, self.net)
        self._waiting: dict[str, deque[Ask]] = {}
        self._spreading = False

    def begin(self, named: list[str]) -> None:
        """It is there. When its rounds are is chance; renewals are spread evenly over all nodes."""
        self.named = named
        for did in named:
            self.gossip.company.invite(did, typed=True)
        self.net.later(self.net.dice.randrange(gossip_limits.GOSSIP_PERIOD_MS), self._round)
        self.net.later(self.net.dice.randrange(1_000), lambda: self.show(self.record(), self.offer()))
        self.net.later(RENEWED_MS * self.number // self.net.count, self._renew)

    def record(self) -> Envelope:
        """Its card, of now."""
        where = f"10.{self.number // 62_500}.{self.number // 250 % 250}.{self.number % 250 + 1}:7700"
        head, roles = self.desk.broadcast_head(), (Role.PROVIDER, Role.DIRECTORY)
        return self.desk.sign(NodeRecord(head, self.net.now, roles, (where,), _CERTIFICATE, bytes(32), "x")).envelope

    def offer(self) -> Envelope:
        """What it sells, as of now: a few models."""
        models = tuple(
            ModelOffer(
                bytes([n]) * 32, f"a model called {n}", "StableDiffusionPipeline", "openrail", ModelState.CACHED,
                PriceSheet(bytes([n]) * 32, 15, 40, 200, 0, 20), (Task.TEXT_TO_IMAGE,), (Scheduler.DDIM,),
            )
            for n in range(MODELS)
        )  # fmt: skip
        offer = Offer(
            self.desk.broadcast_head(), self.net.now, bytes(32), (), 8, 1 << 33, (Task.TEXT_TO_IMAGE,),
            (Scheduler.DDIM,), (Precision.EXACT,), (BidClass.ON_DEMAND,), models, (WorkerImage(bytes(32), "worker"),),
            (LedgerRef(self.did, "10.0.0.1:7700"),), Isolation.NONE, (bytes(32),),
            JobLimits(1 << 20, 100, 16, 1 << 33), 100_000, 8, "",
        )  # fmt: skip
        return self.desk.sign(offer).envelope

    def show(self, *found: Envelope) -> None:
        """To itself, and to the peers of its configuration."""
        for document in found:
            self.directory.publish(document)
        self._put([])
        for did in self.named:
            self.net.later(self.net.delay(), lambda d=did: self.net.by_did[d].shown(found, self.did))
            self._count(0, found)

    def shown(self, found: tuple[Envelope, ...], source: str) -> None:
        """Somebody publishes here."""
        for document in found:
            self.directory.publish(document, Origin(source, Reach.PRIVATE))
        self._put([])

    def asked(self, request: Compare | Tell | object) -> Reply:
        """Somebody's question."""
        if isinstance(request, Tell):
            told, asks = self.gossip.hear(request)
            self._put(asks)
            return told
        return self.gossip.differ(request) if isinstance(request, Compare) else self.gossip.give(request)

    # --- its daemon ------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        self.net.later(RENEWED_MS, self._renew)
        self.show(self.record(), self.offer())

    def _round(self) -> None:
        self.net.later(gossip_limits.GOSSIP_PERIOD_MS * (0.75 + self.net.dice.random() / 2), self._round)
        self._put(self.gossip.begin())

    def _spread(self) -> None:
        self._spreading = False
        self._put(self.gossip.spread())

    def _put(self, asks: list[Ask]) -> None:
        for ask in asks:
            if ask.did in self._waiting:
                self._waiting[ask.did].append(ask)
            else:
                self._waiting[ask.did] = deque((ask,))
                self.net.later(0, lambda did=ask.did: self._next(did))
        if self.net.tells and self.gossip.has_news and not self._spreading:
            self._spreading = True
            self.net.later(gossip_limits.GOSSIP_NEWS_MS, self._spread)

    def _next(self, did: str) -> None:
        waiting = self._waiting[did]
        while waiting:
            ask = waiting.popleft()
            if self.gossip.is_due(ask):
                self.net.later(self.net.delay(), lambda a=ask: self._arrives(a))
                return
        del self._waiting[did]

    def _arrives(self, ask: Ask) -> None:
        reply = self.net.by_did[ask.did].asked(ask.request)
        self._count(len(wire.encode(ask.request)) + len(wire.encode(reply)), getattr(reply, "documents", ()))
        self.net.later(self.net.delay(), lambda: self._answered(ask, reply))

    def _answered(self, ask: Ask, reply: Reply) -> None:
        self._put(self.gossip.answered(ask, reply, Reach.PRIVATE))
        self._next(ask.did)

    def _count(self, size: int, found: tuple[Envelope, ...]) -> None:
        bodies = sum(len(one.payload) for one in found)
        traffic = self.net.traffic
        traffic.calls, traffic.sent, traffic.bodies = (
            traffic.calls + 1, traffic.sent + (size or bodies), traffic.bodies + bodies,
        )  # fmt: skip
