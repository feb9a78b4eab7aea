"""Rows in the order of a number. Rule: sorted blocks of bounded size: to come and to go moves one block, never all.

Each block knows its rows as a mask, so that blocks without any row of a search are passed at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from gpufair.protocol.search.rows import Rows, bytes_of, mask_of

BLOCK_MAX = 2_048

Entry = tuple[int, int, str, int]
"""The number, another one and a did that break ties, the row."""


class _Block:
    __slots__ = ("entries", "rows")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.rows = Rows()
        for *_, row in entries:
            self.rows.add(row)


class Order:
    """Entries, smallest first."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._lasts: list[Entry] = []
        """The last entry of each block."""

    def add(self, entry: Entry) -> None:
        """An entry that is not here takes its place."""
        if not self._blocks:
            self._blocks, self._lasts = [_Block([entry])], [entry]
            return
        place = min(bisect_left(self._lasts, entry), len(self._blocks) - 1)
        block = self._blocks[place]
        insort(block.entries, entry)
        block.rows.add(entry[3])
        self._lasts[place] = block.entries[-1]
        if len(block.entries) > BLOCK_MAX:
            half = len(block.entries) // 2
            parts = [_Block(block.entries[:half]), _Block(block.entries[half:])]
            self._blocks[place : place + 1] = parts
            self._lasts[place : place + 1] = [part.entries[-1] for part in parts]

    def remove(self, entry: Entry) -> None:
        """An entry that is here leaves."""
        place = bisect_left(self._lasts, entry)
        block = self._blocks[place]
        del block.entries[bisect_left(block.entries, entry)]
        block.rows.remove(entry[3])
        if block.entries:
            self._lasts[place] = block.entries[-1]
        else:
            del self._blocks[place], self._lasts[place]

    def among(self, mask: int) -> Iterator[Entry]:
        """The entries whose rows are in a mask, smallest first."""
        bits = bytes_of(mask)
        end = 8 * len(bits)
        for block in self._blocks:
            if block.rows.mask & mask:
                for entry in block.entries:
                    row = entry[3]
                    if row < end and bits[row >> 3] >> (row & 7) & 1:
                        yield entry

    def up_to(self, most: int) -> int:
        """The mask of all rows whose number is `most` or less."""
        mask = 0
        for block, last in zip(self._blocks, self._lasts, strict=True):
            if last[0] <= most:
                mask |= block.rows.mask
                continue
            within = bisect_right(block.entries, most, key=lambda entry: entry[0])
            return mask | mask_of(row for *_, row in block.entries[:within])
        return mask
