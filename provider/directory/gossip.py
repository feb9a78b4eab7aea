"""Directories among themselves. Rule: we say what we have; what we lack we fetch, from whom we asked (ADR 24).

A core without I/O: it takes answers and gives questions. `begin` opens a round (compare digests with a few others),
`spread` tells what is new, `answered` and `failed` take what came of a question, and `differ`, `hear` and `give` answer
those of others. Not thread-safe: it lives on its directory's thread.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from gpufair.protocol import gossip_limits, limits
from gpufair.protocol.addresses import Endpoint, Reach, network
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.fields import DID_PREFIX
from gpufair.protocol.messages import (
    Bodies,
    Compare,
    Compared,
    Document,
    Heading,
    NodeRecord,
    Pull,
    Role,
    Tell,
    Told,
)
from gpufair.protocol.ports import Clock, Random
from gpufair.provider.directory import documents
from gpufair.provider.directory.asks import Ask, Reply
from gpufair.provider.directory.company import Company, Mate, Trouble
from gpufair.provider.directory.comparing import Comparing
from gpufair.provider.directory.directory import Act, Directory, Taken
from gpufair.provider.directory.documents import Held, Kind, Origin, place_of
from gpufair.provider.directory.wants import Wants

_NOBODYS_FAULT = {
    Fault.EXPIRED: Trouble.CLOCK,
    Fault.FROM_THE_FUTURE: Trouble.CLOCK,
    Fault.LIMIT: Trouble.FULL,
    Fault.NOT_ALLOWED: Trouble.ASTRAY,
}
"""What may be wrong with a document although its bringer did nothing wrong: clocks differ, we may be full, and what is
near to it may be out of our reach."""


class Gossip:
    """One directory in the company of others. `me` is its did."""

    def __init__(self, me: str, directory: Directory, clock: Clock, random: Random) -> None:
        self._me, self._directory, self._clock, self._random = me, directory, clock, random
        self.company = Company(me, self._pick)
        self._wants = Wants(self.company, directory, clock)
        self._comparing = Comparing(me, directory, self._wants, clock, self._pick)
        self._news: dict[bytes, str] = {}
        """Places to tell of, and who told us."""
        self._told_ms: OrderedDict[bytes, int] = OrderedDict()
        directory.listeners.append(self._heard)
        self._remember()

    # --- what goes out -----------------------------------------------------------------------------------------------

    def begin(self) -> list[Ask]:
        """A round: compare with a few others, and ask on for what is still wanted."""
        now_ms = self._clock.now_ms()
        self._directory.prune()
        self._wants.sweep()
        asks: list[Ask] = []
        for mate in self.company.some(gossip_limits.GOSSIP_COMPARED, now_ms):
            asks += self._comparing.whole(mate)
        return asks + self._pulls()

    def greet(self, did: str, *, instead_of: str = "") -> list[Ask]:
        """Our owner's address led to this directory: have it for company, and compare with it at once.

        `instead_of` is who was there before, if somebody was.
        """
        self.company.unname(instead_of)
        self.company.invite(did, typed=True)
        mate = self.company.get(did)
        return [] if mate is None or mate.paused_until_ms > self._clock.now_ms() else self._comparing.whole(mate)

    def spread(self) -> list[Ask]:
        """Tell a few others what is new; what was told a moment ago waits a little."""
        now_ms, tree = self._clock.now_ms(), self._directory.tree
        ripe = [p for p in self._news if self._told_ms.get(p, 0) + gossip_limits.GOSSIP_RETELL_MS <= now_ms]
        ripe = ripe[: gossip_limits.TELL_HEADINGS]
        bringers = {place: self._news.pop(place) for place in ripe}
        headings = [Heading(place, tree.get(place)) for place in ripe if tree.get(place)]
        for place in ripe:
            self._told_ms[place] = now_ms
            self._told_ms.move_to_end(place)
        while len(self._told_ms) > gossip_limits.SPURNED_MAX:
            self._told_ms.popitem(last=False)
        asks = []
        for mate in self.company.some(gossip_limits.GOSSIP_FAN_OUT, now_ms) if headings else ():
            fresh = tuple(one for one in headings if bringers[one.place] != mate.did)
            if fresh:
                asks.append(Ask(mate.did, Tell(self._me, fresh)))
        return asks

    def is_due(self, ask: Ask) -> bool:
        """Whether a question that waited for its turn is still to be asked: its peer may have failed meanwhile."""
        mate = self.company.get(ask.did)
        return mate is not None and mate.paused_until_ms <= self._clock.now_ms()

    @property
    def has_news(self) -> bool:
        """Whether `spread` has something to tell, now or in a moment."""
        return bool(self._news)

    def answered(self, ask: Ask, reply: Reply, heard: Reach) -> list[Ask]:
        """What follows from an answer that came from `heard`. Nothing it says is believed."""
        mate, now_ms = self.company.get(ask.did), self._clock.now_ms()
        if mate is None:
            return []
        self.company.answered(mate, now_ms)
        try:
            if isinstance(ask.request, Compare) and isinstance(reply, Compared):
                return self._comparing.compared(mate, ask.request, reply) + self._pulls()
            if isinstance(ask.request, Pull) and isinstance(reply, Bodies):
                self._pulled(mate, ask.request, reply, heard)
        except PeerError as error:
            self._wants.abandon(mate)
            self.company.pause(mate, error.what, now_ms)
        return self._pulls()

    def failed(self, ask: Ask, why: str, trouble: Trouble = Trouble.UNREACHABLE) -> list[Ask]:
        """A question came to nothing: nobody answered, or the peer would not, or broke the protocol."""
        mate, now_ms = self.company.get(ask.did), self._clock.now_ms()
        if mate is None:
            return []
        if trouble is not Trouble.UNREACHABLE:
            mate.seen_ms = now_ms
        self._wants.abandon(mate)
        self.company.failed(mate, trouble, why, now_ms)
        return self._pulls()

    # --- what comes in -----------------------------------------------------------------------------------------------

    def differ(self, asked: Compare) -> Compared:
        """Where we differ from the asker."""
        return self._comparing.differ(asked)

    def hear(self, told: Tell) -> tuple[Told, list[Ask]]:
        """News from somebody who says who it is: if we have its record, it is asked; if not, we lose nothing."""
        mate = self.company.get(told.teller)
        if mate is None and self._directory.tree.get(place_of(Kind.RECORD, told.teller.encode())):
            mate = self.company.guest(told.teller, self._clock.now_ms())
        if mate is None or mate.paused_until_ms > self._clock.now_ms():
            return Told(), []
        wanted = sum(self._wants.add(mate, heading) for heading in told.headings)
        return Told(wanted), self._pulls()

    def give(self, asked: Pull) -> Bodies:
        """The documents of these places, as many as fit."""
        return Bodies(tuple(self._directory.bodies(asked.places)))

    # --- fetching ----------------------------------------------------------------------------------------------------

    def _pulls(self) -> list[Ask]:
        """Ask everybody who has something for us, one question at a time."""
        asks = []
        for mate in self.company.present(self._clock.now_ms()):
            if mate.queue and not mate.pulling:
                mate.pulling = True
                asks.append(Ask(mate.did, Pull(tuple(mate.queue)[: gossip_limits.PULL_PLACES])))
        return asks

    def _pulled(self, mate: Mate, asked: Pull, found: Bodies, heard: Reach) -> None:
        """Take what came. What was asked for and did not come is asked of the next who says that it has it."""
        mate.pulling = False
        outcomes = self._directory.take(found.documents, Origin(mate.did, heard), only=asked.places)
        mate.got += sum(isinstance(one, Taken) and one.stored for one in outcomes)
        is_full = sum(len(one.payload) for one in found.documents) > limits.MESSAGE_MAX // 2
        left = asked.places[len(found.documents) :] if is_full else ()
        self._wants.came(mate, asked.places, found=[one.place for one in outcomes if isinstance(one, Taken)], left=left)
        errors = [one for one in outcomes if isinstance(one, PeerError)]
        for error in errors:
            if error.fault not in _NOBODYS_FAULT:
                raise error
        self._note(mate, errors, len(outcomes))

    @staticmethod
    def _note(mate: Mate, errors: list[PeerError], count: int) -> None:
        """Why some of what a peer gave was not kept, though nobody did wrong."""
        if not errors:
            mate.troubled(Trouble.NONE)
            return
        mate.troubled(
            _NOBODYS_FAULT[errors[0].fault], f"{len(errors)} of {count} documents were not taken: {errors[0].what}"
        )

    # --- what is new -------------------------------------------------------------------------------------------------

    def _heard(self, held: Held, doc: Document) -> Act:
        endpoints = doc.endpoints if isinstance(doc, NodeRecord) and Role.DIRECTORY in doc.roles else ()
        return partial(self._taken, held, endpoints)

    def _taken(self, held: Held, endpoints: tuple[str, ...]) -> None:
        """A document was taken: it is told on, and if it shows a directory at `endpoints`, that may be company."""
        if self._directory.tree.get(held.place):
            self._news[held.place] = held.source
        if endpoints:
            first = Endpoint.parse(endpoints[0])
            same = network(first.host) if first.is_ip else ".".join(first.host.split(".")[-2:])
            self.company.invite(held.did, network=same if held.heard is Reach.GLOBAL else "")

    def _remember(self) -> None:
        """After a restart: some of the directories whose records are still here."""
        for document in self._directory.find_records(after=DID_PREFIX + "123456789ABCDEFGH"[self._pick(17)])[0]:
            found = documents.read(document)
            if (held := self._directory.held(found.place)) is not None:
                self._heard(held, found.signed.doc)()
        self._news.clear()

    def _pick(self, below: int) -> int:
        """A number from 0 to below `below`."""
        return int.from_bytes(self._random.bytes(8), "big") % below
