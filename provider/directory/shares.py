"""Who takes how much of a directory's room. Rule: when it is full, who takes the most gives way, its newest first.

A source is the peer that a document was fetched from, or the network address that published it. A flood through one
source ends at that source's share; what has been known for long outlives it. The node's own documents never give way.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

OWN = ""
"""The source of the node's own documents."""


@dataclass
class _Source:
    rows: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Place: (since when its identity is known, bytes)."""
    size: int = 0
    newest: list[tuple[int, bytes]] = field(default_factory=list)
    """A heap of (-since, place); entries that no longer hold are passed over."""


class Shares:
    """Rows and bytes, by source, within both bounds together."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max, self._bytes_max = count_max, bytes_max
        self._sources: dict[str, _Source] = {}
        self._heaviest: list[tuple[int, str]] = []
        self.count = 0
        self.size = 0

    def fits(self, size: int, *, is_new: bool) -> bool:
        """Whether so many bytes more, in a row of their own or not, are within the bounds."""
        return self.count + is_new <= self._count_max and self.size + size <= self._bytes_max

    def add(self, source: str, place: bytes, since_ms: int, size: int) -> None:
        """Count a row."""
        one = self._sources.setdefault(source, _Source())
        one.rows[place] = (since_ms, size)
        one.size += size
        heapq.heappush(one.newest, (-since_ms, place))
        self.count, self.size = self.count + 1, self.size + size
        self._weigh(source)

    def resize(self, source: str, place: bytes, size: int) -> None:
        """A row of this source has other bytes than before: what it is known since stays."""
        one = self._sources[source]
        since_ms, before = one.rows[place]
        if size != before:
            one.rows[place] = (since_ms, size)
            one.size, self.size = one.size + size - before, self.size + size - before
            self._weigh(source)

    def remove(self, source: str, place: bytes) -> None:
        """Count a row no longer."""
        one = self._sources[source]
        _, size = one.rows.pop(place)
        one.size -= size
        self.count, self.size = self.count - 1, self.size - size
        if not one.rows:
            del self._sources[source]
        elif len(one.newest) > 2 * len(one.rows) + 64:
            one.newest = [(-since, place) for place, (since, _) in one.rows.items()]
            heapq.heapify(one.newest)
        self._weigh(source)

    def gives_way(self, newcomer: str) -> bytes | None:
        """Whose room a document from `newcomer` may have; None if nobody takes more than the newcomer itself does."""
        while self._heaviest:
            weight, source = self._heaviest[0]
            if -weight == self._weight(source):
                break
            heapq.heappop(self._heaviest)
        else:
            return None
        return None if source == newcomer else self._newest(source)

    def by_source(self) -> dict[str, int]:
        """How many rows each source has."""
        return {source: len(one.rows) for source, one in self._sources.items()}

    def _newest(self, source: str) -> bytes:
        one = self._sources[source]
        while True:
            since, place = one.newest[0]
            if one.rows.get(place, (None,))[0] == -since:
                return place
            heapq.heappop(one.newest)

    def _weight(self, source: str) -> int:
        one = self._sources.get(source)
        return max(len(one.rows) * self._bytes_max, one.size * self._count_max) if one else 0

    def _weigh(self, source: str) -> None:
        if source == OWN:
            return
        if len(self._heaviest) > 2 * len(self._sources) + 1024:
            self._heaviest = [(-self._weight(one), one) for one in self._sources if one != OWN]
            heapq.heapify(self._heaviest)
        elif weight := self._weight(source):
            heapq.heappush(self._heaviest, (-weight, source))
