"""Documents in plain memory. Rule: as `store`, and nothing survives: for many directories in one process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gpufair.provider.directory.documents import Held, Kind


class MemoryDocuments:
    """See `store.Documents`."""

    def __init__(self) -> None:
        self._rows: dict[bytes, tuple[Held, bytes]] = {}

    def all(self) -> Iterable[Held]:
        """Every row."""
        return [held for held, _ in self._rows.values()]

    def write(self, puts: Sequence[tuple[Held, bytes]], gone: Sequence[bytes]) -> None:
        """Keep documents and forget places."""
        for place in gone:
            self._rows.pop(place, None)
        for held, data in puts:
            had = self._rows.get(held.place)
            if had is not None and had[0].sequence > held.sequence:
                raise ValueError("a sequence never falls")
            self._rows[held.place] = (held, data)

    def bury(self, places: Sequence[bytes]) -> None:
        """Drop the envelopes at these places, and keep their sequences."""
        for place in places:
            held, _ = self._rows[place]
            self._rows[place] = (replace(held, size=0), b"")

    def envelopes(self, places: Sequence[bytes]) -> dict[bytes, bytes]:
        """The envelopes that are kept at these places."""
        return {place: row[1] for place in places if (row := self._rows.get(place)) is not None and row[1]}

    def page(
        self, kind: Kind, *, dids: tuple[str, ...], after: str, now_ms: int, count_max: int, bytes_max: int
    ) -> tuple[list[tuple[str, bytes]], bool]:
        """Live documents after a key, in the order of keys, within both bounds; and whether there are more."""
        live = sorted(
            (key, data)
            for held, data in self._rows.values()
            if held.kind is kind and data and held.expires_at_ms > now_ms
            if (key := held.place.hex() if kind is Kind.EVIDENCE else held.did) > after
            if not dids or held.did in dids
        )
        found: list[tuple[str, bytes]] = []
        size = 0
        for key, data in live:
            size += len(data)
            if len(found) == count_max or (found and size > bytes_max):
                return found, True
            found.append((key, data))
        return found, False

    def close(self) -> None:
        """Nothing to let go of."""
