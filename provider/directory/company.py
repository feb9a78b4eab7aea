"""The other directories that a node exchanges documents with. Rule: their number is bounded, and silence costs a turn.

A peer is a did: where it is, and whether it may be dialled, is the edge's business. Learned ones are a random sample of
all that were ever heard of, few of one network, so that whoever makes many identities is met no more often than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gpufair.protocol import gossip_limits, limits
from gpufair.protocol.errors import printable


@dataclass
class Mate:
    """One other directory. `network`: who else may be of the same owner; `typed`: our own owner named it."""

    did: str
    network: str = ""
    typed: bool = False
    failures: int = 0
    paused_until_ms: int = 0
    why: str = ""
    """What went wrong the last time; empty when the last answer was good."""
    seen_ms: int = 0
    """When it last answered."""
    got: int = 0
    """Documents of its that were taken."""
    budget: int = 0
    """Questions of comparison that it may still be asked in this round."""
    pulling: bool = False
    queue: dict[bytes, None] = field(default_factory=dict)
    """Places that wait to be asked of it."""


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
        """A few of them at random."""
        left = [mate for mate in self._mates.values() if mate.paused_until_ms <= now_ms]
        return [left.pop(self._pick(len(left))) for _ in range(min(count, len(left)))]

    def answered(self, mate: Mate, now_ms: int) -> None:
        """It did."""
        mate.failures, mate.why, mate.seen_ms = 0, "", now_ms

    def failed(self, mate: Mate, why: str, now_ms: int) -> None:
        """It did not answer: it is asked again later and later; a learned one is forgotten in the end."""
        mate.failures += 1
        mate.why = printable(why, limits.TEXT_MAX)
        wait_ms = gossip_limits.GOSSIP_BACK_OFF_MS * 2 ** min(mate.failures - 1, 16)
        mate.paused_until_ms = now_ms + min(wait_ms, gossip_limits.GOSSIP_PAUSE_MS)
        if mate.failures >= gossip_limits.GOSSIP_FAILURES_MAX:
            self.drop(mate.did)

    def pause(self, mate: Mate, why: str, now_ms: int) -> None:
        """It passed on what it must not: it is left alone."""
        mate.why, mate.paused_until_ms = printable(why, limits.TEXT_MAX), now_ms + gossip_limits.GOSSIP_PAUSE_MS

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
