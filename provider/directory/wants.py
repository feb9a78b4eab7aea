"""What we lack and who says that it has it. Rule: one is asked at a time, and who doesn't deliver loses its turn.

Whoever promised a document and did not deliver it isn't asked for that place again for a while. That counts for it
alone: what one invents about a document never keeps us from having it of another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from gpufair.protocol import gossip_limits, limits
from gpufair.protocol.messages import Heading
from gpufair.protocol.ports import Clock
from gpufair.provider.directory.company import Company, Mate
from gpufair.provider.directory.directory import Directory

_ASK_AGAIN_MS = limits.MINUTE
_SILENT_MS = gossip_limits.GOSSIP_PERIOD_MS
"""The same for one that said nothing: its line may be to blame, and it may be the only one that we know."""


@dataclass
class _Want:
    sequence: int
    sources: list[str] = field(default_factory=list)
    """Who says that it has it; the first is being asked."""


class Wants:
    """The headings that are to be fetched."""

    def __init__(self, company: Company, directory: Directory, clock: Clock) -> None:
        self._company, self._directory, self._clock = company, directory, clock
        self._wants: dict[bytes, _Want] = {}
        self._spurned: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        """Who promised what and did not deliver it, and until when it is not asked for that."""

    def __len__(self) -> int:
        return len(self._wants)

    def add(self, mate: Mate, heading: Heading) -> bool:
        """Whether a heading is news to us: it is then to be asked of this peer, or of it too."""
        held = self._directory.held(heading.place)
        if held is not None and held.sequence >= heading.sequence:
            return False
        if self._clock.now_ms() < self._spurned.get((mate.did, heading.place), 0):
            return False
        want = self._wants.get(heading.place)
        if want is not None:
            self._also(want, mate.did)
            want.sequence = max(want.sequence, heading.sequence)
            return True
        if len(mate.queue) >= gossip_limits.WANTS_PER_PEER:
            return False
        self._wants[heading.place] = _Want(heading.sequence, [mate.did])
        mate.queue[heading.place] = None
        return True

    def came(
        self, mate: Mate, places: Sequence[bytes], *, found: Collection[bytes] = (), left: Sequence[bytes] = ()
    ) -> None:
        """A peer has answered for these places: `found` came, if not the newest; `left` did not fit and stay."""
        for place in places:
            want, held = self._wants.get(place), self._directory.held(place)
            if want is None or (held is not None and held.sequence >= want.sequence):
                mate.queue.pop(place, None)
                self._wants.pop(place, None)
            elif place not in left:
                self._pass_on(mate.did, place, spurn_ms=0 if place in found else _ASK_AGAIN_MS)

    def abandon(self, mate: Mate) -> None:
        """Expect nothing of a peer any more."""
        mate.pulling = False
        for place in list(mate.queue):
            self._pass_on(mate.did, place, spurn_ms=_SILENT_MS)

    def sweep(self) -> None:
        """Pass on what was to be asked of peers that are no company any more, or are left alone for a while.

        One that was gone and came back has forgotten what it was to be asked.
        """
        for place, want in list(self._wants.items()):
            mate = self._company.get(want.sources[0])
            if mate is None or place not in mate.queue or (self._is_paused(mate) and not mate.pulling):
                self._pass_on(want.sources[0], place, spurn_ms=0)

    def _also(self, want: _Want, did: str) -> None:
        """Remember one more who has it. A guest gives way to a peer: dids are free, and guests could crowd it out."""
        if did in want.sources:
            return
        if len(want.sources) < gossip_limits.GOSSIP_FAN_OUT:
            want.sources.append(did)
        elif self._company.is_member(did):
            guest = next((one for one in want.sources[1:] if not self._company.is_member(one)), None)
            if guest is not None:
                want.sources[want.sources.index(guest)] = did

    def _pass_on(self, did: str, place: bytes, *, spurn_ms: int) -> None:
        """Ask somebody else for it; if there is nobody, it came to nothing."""
        mate, want = self._company.get(did), self._wants.get(place)
        if mate is not None:
            mate.queue.pop(place, None)
        if want is None:
            return
        if spurn_ms:
            self._spurn(did, place, spurn_ms)
        want.sources = [one for one in want.sources if one != did]
        while want.sources:
            other = self._company.get(want.sources[0])
            if other is not None and self._takes_more(other):
                other.queue[place] = None
                return
            want.sources.pop(0)
        del self._wants[place]

    def _takes_more(self, mate: Mate) -> bool:
        return len(mate.queue) < gossip_limits.WANTS_PER_PEER and not self._is_paused(mate)

    def _is_paused(self, mate: Mate) -> bool:
        return mate.paused_until_ms > self._clock.now_ms()

    def _spurn(self, did: str, place: bytes, ms: int) -> None:
        self._spurned[did, place] = self._clock.now_ms() + ms
        self._spurned.move_to_end((did, place))
        while len(self._spurned) > gossip_limits.SPURNED_MAX:
            self._spurned.popitem(last=False)
