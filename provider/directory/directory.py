"""What a directory takes and shows. Rule: docs/payment.md, rules 20 and 23: cheap checks first, the newest wins.

`take` is the one door, for a node itself, a stranger and gossip alike: a document that proves itself needs nobody's
word, and where it came from matters to room alone (`shares`). Not thread-safe: one thread works here.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from gpufair.protocol import envelope, identity, limits
from gpufair.protocol.envelope import Verify
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Document, Envelope
from gpufair.protocol.ports import Clock
from gpufair.provider.directory import documents
from gpufair.provider.directory.documents import OWN, Held, Kind, Origin, Read
from gpufair.provider.directory.shares import Shares
from gpufair.provider.directory.store import Documents
from gpufair.provider.directory.tree import Tree

_FORGET_AFTER_MS = limits.BROADCAST_TTL_MS + 2 * limits.SKEW_MS
"""By then every older document that could have been published beside this one has expired too."""
_FORGET_AT_ONCE = 1_000
_PAGE_BYTES = limits.MESSAGE_MAX - limits.PAYLOAD_MAX // 4  # room for what each document's framing adds

Act = Callable[[], None]
News = Callable[[Held, Document], Act | None]
"""What is to be done about a document once it is committed: it is asked before, as no document is kept till then."""


@dataclass(frozen=True, slots=True)
class Taken:
    """`stored`: the document is now held, or was already, byte for byte. Otherwise one of that sequence or above is."""

    place: bytes
    sequence: int
    stored: bool


@dataclass
class _Batch:
    puts: dict[bytes, tuple[Held, bytes]] = field(default_factory=dict)
    acts: dict[bytes, list[Act]] = field(default_factory=dict)
    gone: set[bytes] = field(default_factory=set)


class Directory:
    """The documents known to one node."""

    def __init__(self, store: Documents, clock: Clock, *, verify: Verify = identity.verify) -> None:
        self._store, self._clock, self._verify = store, clock, verify
        self.listeners: list[News] = []
        """Who acts on each document that was taken."""
        self.partings: list[Callable[[Held], None]] = []
        """Who is told of each that is here no more."""
        self._held: dict[bytes, Held] = {}
        self._ends: list[tuple[int, bytes]] = []
        self._graves: list[tuple[int, bytes]] = []
        self._load()

    @property
    def rows(self) -> int:
        """Places, those of expired documents included."""
        return sum(room.count for room in self._rooms.values())

    @property
    def size(self) -> int:
        """Bytes of the documents that are kept."""
        return sum(room.size for room in self._rooms.values())

    def publish(self, document: Envelope, origin: Origin = OWN) -> tuple[int, bool]:
        """Take one document: its sequence and True if it is now held, else the higher one that is; or the refusal."""
        taken = self.take([document], origin)[0]
        if isinstance(taken, PeerError):
            raise taken
        return taken.sequence, taken.stored

    def take(
        self, found: Sequence[Envelope], origin: Origin, *, only: Collection[bytes] | None = None
    ) -> list[Taken | PeerError]:
        """Take documents from one source, in one transaction. A PeerError stands for one that can't be believed.

        With `only`, these places were asked for, and what belongs to another is refused.

        LIMIT among them: the house is full, and nobody takes more of it than this source.
        """
        self.prune()
        batch, outcomes = _Batch(), list[Taken | PeerError]()
        try:
            for document in found:
                try:
                    outcomes.append(self._admit(documents.read(document), origin, batch, only))
                except PeerError as error:
                    outcomes.append(error)
            if batch.puts or batch.gone:
                self._store.write(list(batch.puts.values()), list(batch.gone))
        except BaseException:
            self._load()  # what the store did not take was never here
            raise
        for place in batch.puts:
            for act in batch.acts[place]:
                act()
        return outcomes

    # --- what is shown -----------------------------------------------------------------------------------------------

    def find_records(self, dids: tuple[str, ...] = (), after: str = "") -> tuple[list[Envelope], str]:
        """A page of live node records, and the `after` of the next page (empty: this was the last)."""
        return self._find(Kind.RECORD, dids, after)

    def find_offers(self, dids: tuple[str, ...] = (), after: str = "") -> tuple[list[Envelope], str]:
        """A page of live offers, likewise."""
        return self._find(Kind.OFFER, dids, after)

    def find_evidence(self, dids: tuple[str, ...] = (), after: str = "") -> tuple[list[Envelope], str]:
        """A page of live evidence, in the order of places; `dids` are the accused."""
        return self._find(Kind.EVIDENCE, dids, after)

    def bodies(self, places: Sequence[bytes]) -> list[Envelope]:
        """The live documents at these places, as many as fit into one message."""
        live = [place for place in dict.fromkeys(places) if self.tree.get(place)]
        kept = self._store.envelopes(live)
        found: list[Envelope] = []
        size = 0
        for data in (kept[place] for place in live if place in kept):
            size += len(data)
            if found and size > _PAGE_BYTES:
                break
            found.append(documents.parsed(data))
        return found

    def held(self, place: bytes) -> Held | None:
        """What is known of a place; its document may be long gone."""
        return self._held.get(place)

    def counts(self) -> dict[Kind, int]:
        """How many live documents there are of each kind."""
        kinds = Counter(held.kind for held in self.live())
        return {kind: kinds[kind] for kind in Kind}

    def live(self) -> Iterator[Held]:
        """What is known of each live document."""
        return (held for held in self._held.values() if self.tree.get(held.place))

    def sources(self) -> dict[str, int]:
        """How many places each source answers for."""
        found = Counter[str]()
        for room in self._rooms.values():
            found.update(room.by_source())
        return dict(found)

    def prune(self) -> None:
        """Drop what has expired; its sequence stays, since an older document may still live."""
        now_ms, buried = self._clock.now_ms(), list[bytes]()
        while self._ends and self._ends[0][0] <= now_ms:
            expiry, place = heapq.heappop(self._ends)
            held = self._held.get(place)
            if held is None or held.expires_at_ms != expiry or not held.size:
                continue
            self.tree.drop(place)
            self._count(held, replace(held, size=0))
            heapq.heappush(self._graves, (expiry, place))
            buried.append(place)
        if buried:
            self._store.bury(buried)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def _find(self, kind: Kind, dids: tuple[str, ...], after: str) -> tuple[list[Envelope], str]:
        now_ms = self._clock.now_ms()
        found, more = self._store.page(
            kind, dids=dids, after=after, now_ms=now_ms, count_max=limits.FIND_MAX, bytes_max=_PAGE_BYTES
        )
        return [documents.parsed(data) for _, data in found], found[-1][0] if more else ""

    # --- what is taken -----------------------------------------------------------------------------------------------

    def _admit(self, found: Read, origin: Origin, batch: _Batch, only: Collection[bytes] | None) -> Taken:
        now_ms = self._clock.now_ms()
        if only is not None and found.place not in only:
            raise PeerError(Fault.MALFORMED, "it sent a document that nobody asked for")
        documents.check_time(found, now_ms)
        had = self._held.get(found.place)
        if had is not None and had.sequence >= found.sequence:
            return Taken(found.place, had.sequence, had.id == found.signed.id)
        documents.check_sense(found, origin.heard)
        envelope.authenticate(found.signed, verify=self._verify)
        documents.check_proof(found)
        data, head = found.signed.bytes, found.signed.doc.head
        held = Held(
            found.place, found.kind, found.did, found.sequence, found.signed.id, head.expires_at_ms, len(data),
            origin.source, origin.heard, had.since_ms if had else now_ms,
        )  # fmt: skip
        self._make_room(held, had, now_ms, batch)
        self._count(self._held.get(found.place), held)
        batch.puts[held.place] = (held, data)
        acts = [listener(held, found.signed.doc) for listener in self.listeners]
        batch.acts[held.place] = [act for act in acts if act is not None]
        self._will_end(held)
        if head.expires_at_ms > now_ms:
            self.tree.put(found.place, found.sequence)
        return Taken(found.place, found.sequence, True)

    def _make_room(self, held: Held, had: Held | None, now_ms: int, batch: _Batch) -> None:
        """Let go of what is long dead, then of what takes more than its share. Raises PeerError LIMIT."""
        room, more = self._rooms[_room(held.kind)], held.size - (had.size if had else 0)
        if not room.fits(more, is_new=had is None):
            for place in self._long_dead(now_ms):
                if place != held.place:
                    self._forget(place, batch)
        while not room.fits(more, is_new=had is None):
            other = room.gives_way(held.source)
            if other is None or other == held.place:
                hint = "publish to another one, or here again later"
                raise PeerError(Fault.LIMIT, "this directory is full", hint=hint)
            self._forget(other, batch)

    def _will_end(self, held: Held) -> None:
        if len(self._ends) > 4 * len(self._held) + _FORGET_AT_ONCE:  # of what was renewed since
            self._ends = [(one.expires_at_ms, one.place) for one in self._held.values() if one.size]
            heapq.heapify(self._ends)
        heapq.heappush(self._ends, (held.expires_at_ms, held.place))

    def _long_dead(self, now_ms: int) -> list[bytes]:
        found: list[bytes] = []
        while self._graves and self._graves[0][0] < now_ms - _FORGET_AFTER_MS and len(found) < _FORGET_AT_ONCE:
            expiry, place = heapq.heappop(self._graves)
            held = self._held.get(place)
            if held is not None and held.expires_at_ms == expiry:
                found.append(place)
        return found

    def _forget(self, place: bytes, batch: _Batch) -> None:
        self._count(self._held[place], None)
        self.tree.drop(place)
        batch.puts.pop(place, None)
        batch.gone.add(place)

    def _count(self, had: Held | None, held: Held | None) -> None:
        """The one place where rows come, change and go."""
        if had is not None and held is not None and held.size and had.source == held.source:
            self._rooms[_room(held.kind)].resize(held.source, held.place, held.size)
            self._held[held.place] = held
            return
        if had is not None:
            self._rooms[_room(had.kind)].remove(had.source, had.place)
            del self._held[had.place]
            if held is None or not held.size:
                for parting in self.partings:
                    parting(had)
        if held is not None:
            self._rooms[_room(held.kind)].add(held.source, held.place, held.since_ms, held.size)
            self._held[held.place] = held

    def _load(self) -> None:
        self._held, self._ends, self._graves = {}, [], []
        self._rooms = {
            False: Shares(limits.DIRECTORY_RECORDS_MAX, limits.DIRECTORY_BYTES_MAX),
            True: Shares(limits.EVIDENCE_MAX, limits.EVIDENCE_BYTES_MAX),
        }
        """Evidence has a room of its own: no flood of offers pushes it out, nor the other way round."""
        self.tree = Tree()
        """The headings of all that lives."""
        for held in self._store.all():
            self._count(None, held)
            heapq.heappush(self._ends if held.size else self._graves, (held.expires_at_ms, held.place))
            if held.size:
                self.tree.put(held.place, held.sequence)
        self.prune()


def _room(kind: Kind) -> bool:
    return kind is Kind.EVIDENCE
