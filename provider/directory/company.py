"""The other directories that a node exchanges documents with. Rule: their number is bounded, and silence costs a turn.

A peer is a did: where it is, and whether it may be dialled, is the edge's business. Learned ones are a random sample of
all that were ever heard of, few of one network, so that whoever makes many identities is met no more often than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from gpufair.protocol import gossip_limits, limits
from gpufair.protocol.errors import printable

_JITTER_MILLI = 250
"""By how much, in thousandths, a wait is shorter or longer: who lost sight of a peer together return one by one."""


class Trouble(StrEnum):
    """Why a source gives nothing, or not all that it has."""

    NONE = ""
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    CLOCK = "clock off"
    FULL = "no room"
    ASTRAY = "out of reach"
    DISPROVED = "disproved"
    EMPTY = "empty"


_OF_THE_LINE = (Trouble.UNREACHABLE, Trouble.REFUSED)
"""Over as soon as it answers."""


@dataclass
class Mate:
    """One other directory. `network`: who else may be of the same owner; `typed`: our own owner named it."""

    did: str
    network: str = ""
    typed: bool = False
    failures: int = 0
    paused_until_ms: int = 0
    trouble: Trouble = Trouble.NONE
    why: str = ""
    """What went wrong, in words; empty without trouble."""
    seen_ms: int = 0
    """When it last answered."""
    level_ms: int = 0
    """When it last had exactly what we have."""
    got: int = 0
    """Documents of its that were taken."""
    budget: int = 0
    """Questions of comparison that it may still be asked in this round."""
    pulling: bool = False
    queue: dict[bytes, None] = field(default_factory=dict)
    """Places that wait to be asked of it."""

    def troubled(self, trouble: Trouble, why: str = "") -> None:
        """Note what is wrong with it, or that nothing is."""
        self.trouble, self.why = trouble, printable(why, limits.TEXT_MAX)


class Company:
    """Everybody that we exchange documents with."""

    def __init__(self, me: str, pick: Callable[[int], int]) -> None:
        self._me, self._pick = me, pick
        self._mates: dict[str, Mate] = {}
        self._guests: dict[str, Mate] = {}
        """Others who had news for us, until they were asked for it."""
        self._heard_of = 0

    def __contains__(self, did: object) -> bool:
        return did in self._mates or did in self._guests

    def __iter__(self) -> Iterator[Mate]:
        return iter(list(self._mates.values()))

    def get(self, did: str) -> Mate | None:
        """A mate or a guest by its did."""
        return self._mates.get(did) or self._guests.get(did)

    def guest(self, did: str, now_ms: int) -> Mate | None:
        """Whoever has news, for as long as it takes to ask for it; None where too many are being asked."""
        idle = [one for one in self._guests.values() if not one.queue and not one.pulling]
        # Those that are left alone for a while are remembered, as long as there is room.
        for one in sorted(idle, key=lambda one: one.paused_until_ms):
            if one.paused_until_ms <= now_ms or len(self._guests) >= gossip_limits.GOSSIP_PEERS_MAX:
                del self._guests[one.did]
        if did == self._me or len(self._guests) >= gossip_limits.GOSSIP_PEERS_MAX:
            return None
        return self._guests.setdefault(did, Mate(did))

    def invite(self, did: str, *, network: str = "", typed: bool = False) -> None:
        """Have a directory for company: always one that was typed, others as room and chance allow."""
        have = self._mates.get(did)
        if did == self._me or have is not None:
            if have is not None:
                have.typed = have.typed or typed
            return
        if not typed and not self._has_room(network):
            return
        mate = self._mates[did] = self._guests.pop(did) if did in self._guests else Mate(did)
        mate.network, mate.typed = network, typed

    def is_member(self, did: str) -> bool:
        """Whether it is more than a guest."""
        return did in self._mates

    def unname(self, did: str) -> None:
        """Our owner's address leads to somebody else now: whoever was there is as good as a learned one."""
        if did in self._mates:
            self._mates[did].typed = False

    def drop(self, did: str) -> None:
        """Forget a learned mate, or a guest."""
        self._guests.pop(did, None)
        mate = self._mates.get(did)
        if mate is not None and not mate.typed:
            del self._mates[did]

    def present(self, now_ms: int) -> list[Mate]:
        """Who can be asked now, guests too."""
        return [one for one in (*self._mates.values(), *self._guests.values()) if one.paused_until_ms <= now_ms]

    def some(self, count: int, now_ms: int) -> list[Mate]:
        """A few of them at random; the first is one that our owner named, if there is one to be had.

        So whoever fills our company with friends of its own never has us to itself.
        """
        left = [mate for mate in self._mates.values() if mate.paused_until_ms <= now_ms]
        chosen: list[Mate] = []
        while left and len(chosen) < count:
            named = [] if chosen else [mate for mate in left if mate.typed]
            mate = (named or left)[self._pick(len(named or left))]
            left.remove(mate)
            chosen.append(mate)
        return chosen

    def answered(self, mate: Mate, now_ms: int) -> None:
        """It did."""
        mate.failures, mate.seen_ms = 0, now_ms
        if mate.trouble in _OF_THE_LINE:
            mate.troubled(Trouble.NONE)

    def failed(self, mate: Mate, trouble: Trouble, why: str, now_ms: int) -> None:
        """It did not answer: it is asked again later and later; a learned one is forgotten in the end.

        Questions that were under way together count once.
        """
        mate.troubled(trouble, why)
        if mate.paused_until_ms > now_ms:
            return
        mate.failures += 1
        most = gossip_limits.GOSSIP_NAMED_PAUSE_MS if mate.typed else gossip_limits.GOSSIP_PAUSE_MS
        wait_ms = min(gossip_limits.GOSSIP_BACK_OFF_MS << min(mate.failures - 1, 16), most)
        mate.paused_until_ms = now_ms + self.jittered(wait_ms)
        if mate.failures >= gossip_limits.GOSSIP_FAILURES_MAX:
            self.drop(mate.did)

    def pause(self, mate: Mate, why: str, now_ms: int) -> None:
        """It passed on what it must not: it is left alone."""
        mate.troubled(Trouble.DISPROVED, why)
        mate.paused_until_ms = now_ms + gossip_limits.GOSSIP_PAUSE_MS

    def jittered(self, wait_ms: int) -> int:
        """About so long."""
        spread = wait_ms * _JITTER_MILLI // 1_000
        return wait_ms - spread + self._pick(2 * spread + 1)

    def _has_room(self, network: str) -> bool:
        learned = [mate for mate in self._mates.values() if not mate.typed]
        if network and sum(mate.network == network for mate in learned) >= gossip_limits.GOSSIP_PER_NETWORK:
            return False
        self._heard_of += 1
        if len(self._mates) < gossip_limits.GOSSIP_PEERS_MAX:
            return True
        place = self._pick(self._heard_of)
        if place >= len(learned):
            return False
        del self._mates[learned[place].did]
        return True
