"""A directory of a simulated market among others. Rule: what to say is the real gossip's; here are its clock and wires.

A question is a call of gRPC: it is answered, or fails after a while, and is said once, one at a time to each peer.
Where the network is bad it is lost, late, or arrives twice.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache, partial
from typing import Any

from actor import Actor, CrashDatabase, database

from gpufair.protocol import gossip_limits, identity, limits
from gpufair.protocol.addresses import Reach
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import Compare, Envelope, Tell
from gpufair.provider.directory import documents
from gpufair.provider.directory.asks import Ask
from gpufair.provider.directory.company import Trouble
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import Kind, Origin, place_of
from gpufair.provider.directory.gossip import Gossip
from gpufair.provider.directory.memory import MemoryDocuments
from gpufair.provider.directory.store import DirectoryStore

verified = lru_cache(maxsize=None)(identity.verify)
"""Two hundred directories read and check the same documents: what is pure is worked out once."""
documents.read = lru_cache(maxsize=None)(documents.read)
documents.parsed = lru_cache(maxsize=None)(documents.parsed)
documents.check_sense = lru_cache(maxsize=None)(documents.check_sense)

PATIENCE_MS = limits.CALL_DEADLINE_MS


class TornStore(DirectoryStore):
    """The real store on a database that can lose its newest commits."""

    def __init__(self, db: CrashDatabase) -> None:
        self._database = db


class TalkingActor(Actor):
    """A process with a directory. `friends` are the peers of its configuration, by did."""

    friends: tuple[str, ...] = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.papers: CrashDatabase | None = None
        if self.world.on_disk:
            self.papers = database("directory", self.name)
            self.papers.reset(self._fault)
        self.kept = TornStore(self.papers) if self.papers else MemoryDocuments()

    def open_directory(self) -> None:
        """Come up with what the store holds."""
        self.directory = Directory(self.kept, self, verify=verified)
        self.directory.listeners.append(lambda held, doc: partial(self.world.taken, self, held, doc))
        self.gossip = Gossip(self.desk.did, self.directory, self, self)
        for did in self.friends:
            self.gossip.company.invite(did, typed=True)
        self.spreading = False
        self.turns: dict[str, deque[Ask]] = {}
        self.later(self.sim.rng.randrange(gossip_limits.GOSSIP_PERIOD_MS), self.compare)

    def crash(self) -> None:
        if self.papers and self.sim.rng.random() < 0.5 and self.papers.power_cut():
            self.world.torn(self)
        super().crash()

    # --- our questions -------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Another round."""
        if self.world.quiet:
            return
        self.later(gossip_limits.GOSSIP_PERIOD_MS * self.sim.rng.randrange(80, 120) // 100, self.compare)
        self.put(self.gossip.begin())

    def put(self, asks: list[Ask]) -> None:
        """Ask when it is the peer's turn, and tell what is new in a moment."""
        for ask in asks:
            waiting = self.turns.get(ask.did)
            if waiting is None:
                self.turns[ask.did] = deque((ask,))
                self.later(0, lambda did=ask.did: self.next(did))
            else:
                waiting.append(ask)
        if self.gossip.has_news and not self.spreading and not self.world.quiet:
            self.spreading = True
            self.later(gossip_limits.GOSSIP_NEWS_MS, self.spread)

    def next(self, did: str) -> None:
        """The next question to a peer, unless it has failed meanwhile."""
        waiting = self.turns[did]
        while waiting:
            ask = waiting.popleft()
            if self.gossip.is_due(ask):
                Question(self, ask)
                return
        del self.turns[did]

    def spread(self) -> None:
        """News have waited for company."""
        self.spreading = False
        self.put(self.gossip.spread())

    def can_find(self, did: str) -> bool:
        """Whether we know an address of somebody's."""
        return did in self.friends or bool(self.directory.tree.get(place_of(Kind.RECORD, did.encode())))

    # --- those of others -----------------------------------------------------------------------------------------

    def asked(self, request: Any) -> Any:
        """Somebody's question; None if nobody is at home."""
        return self.guard(self._asked, request)

    def _asked(self, request: Any) -> Any:
        if isinstance(request, Tell):
            told, asks = self.gossip.hear(request)
            self.put(asks)
            return told
        return self.gossip.differ(request) if isinstance(request, Compare) else self.gossip.give(request)

    def take(self, found: tuple[Envelope, ...], source: str) -> tuple[int, ...] | None:
        """Somebody publishes here: the sequences that are held now."""
        return self.guard(self._take, found, source)

    def _take(self, found: tuple[Envelope, ...], source: str) -> tuple[int, ...]:
        origin = Origin(source, Reach.PRIVATE)
        held = tuple(self.directory.publish(document, origin)[0] for document in found)
        self.put([])
        return held

    def shown(self) -> tuple[list[Envelope], list[Envelope]] | None:
        """All offers, then all records, as whoever reads page after page sees them."""
        return self.guard(lambda: (_pages(self.directory.find_offers), _pages(self.directory.find_records)))


class Question:
    """One call to another directory."""

    def __init__(self, asker: TalkingActor, ask: Ask) -> None:
        self.asker, self.ask, self.sim = asker, ask, asker.sim
        self.over = False
        self.other = asker.world.directories.get(ask.did)
        if self.other is None or not asker.can_find(ask.did):
            asker.later(1, lambda: self._failed("no address is known"))
            return
        for _ in range(self.sim.copies()):
            self.sim.after(self.sim.delay(), self._arrive)
        asker.later(PATIENCE_MS, lambda: self._failed("no answer in time"))

    def _arrive(self) -> None:
        if not self._is_reached():
            return
        try:
            reply = self.other.asked(self.ask.request)
        except PeerError as error:
            reply = error
        if reply is not None:
            for _ in range(self.sim.copies()):
                self.asker.later(self.sim.delay(), lambda: self._answered(reply))

    def _answered(self, reply: Any) -> None:
        if self.over or not self._is_reached():
            return
        if isinstance(reply, PeerError):
            self._failed(reply.what, Trouble.REFUSED)
            return
        self._over(self.asker.gossip.answered(self.ask, reply, Reach.PRIVATE))

    def _failed(self, why: str, trouble: Trouble = Trouble.UNREACHABLE) -> None:
        if not self.over:
            self._over(self.asker.gossip.failed(self.ask, why, trouble))

    def _over(self, asks: list[Ask]) -> None:
        self.over = True
        self.asker.put(asks)
        self.asker.next(self.ask.did)

    def _is_reached(self) -> bool:
        return self.sim.reaches(self.asker.name, self.other.name)


def _pages(find: Any) -> list[Envelope]:
    found: list[Envelope] = []
    after = ""
    while True:
        page, after = find(after=after)
        found += page
        if not after:
            return found
