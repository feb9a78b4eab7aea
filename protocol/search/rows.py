"""A set of row numbers. Rule: few are a set, many are one long number with a bit for each, so both are cheap to keep.

A value that a hundred thousand offers have costs 12 kB and is intersected in microseconds; one that a single offer has
costs no more than itself, however many such values there are. What changed since somebody last looked is noted alone.
"""

from __future__ import annotations

from collections.abc import Iterable

_FEW = 64


class Rows:
    """Row numbers; `mask` has their bits set."""

    __slots__ = ("_bits", "_changed", "_count")

    def __init__(self) -> None:
        self._bits = 0
        self._changed: set[int] = set()
        """The rows in which the bits are wrong; without any bits these are all there are."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row: int) -> None:
        """A row that is not in it comes in."""
        self._count += 1
        self._changed ^= {row}

    def remove(self, row: int) -> None:
        """A row that is in it goes out."""
        self._count -= 1
        self._changed ^= {row}

    @property
    def mask(self) -> int:
        """All of them as a number."""
        if not self._bits and self._count <= _FEW:
            return mask_of(self._changed)
        if self._changed:
            self._bits ^= mask_of(self._changed)
            self._changed = set()
        if self._count <= _FEW // 2:
            mask, self._bits = self._bits, 0
            self._changed = set(rows_of(mask))
            return mask
        return self._bits


def mask_of(rows: Iterable[int]) -> int:
    """The number whose bits are these rows."""
    listed = list(rows)
    bits = bytearray(max(listed, default=0) // 8 + 1)
    for row in listed:
        bits[row >> 3] |= 1 << (row & 7)
    return int.from_bytes(bits, "little")


def bytes_of(mask: int) -> bytes:
    """The bits of a mask in bytes, the lowest first; as many bytes as it needs, one at least."""
    return mask.to_bytes(max(1, (mask.bit_length() + 7) // 8), "little")


def rows_of(mask: int) -> list[int]:
    """The rows whose bits are set, in order."""
    words = memoryview(mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")).cast("Q")
    found = []
    for place, word in enumerate(words):
        left = word
        while left:
            lowest = left & -left
            found.append(64 * place + lowest.bit_length() - 1)
            left ^= lowest
    return found
