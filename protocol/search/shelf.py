"""All offers of one model, by price and by time. Rule: the best few are found without looking at the rest.

Two orders are walked side by side. Whoever comes later in both can't have a better score than what a price and a time
that the walk has reached would make together; so it ends once there are enough that are no worse than that (Fagin's
threshold algorithm).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from gpufair.protocol.search.order import Entry, Order
from gpufair.protocol.search.rows import Rows, rows_of
from gpufair.protocol.search.strategies import Key, Strategy

Value = tuple[int, int, str]
"""Price, time and did of a row."""
_FEW = 1_000
"""Rows that are sooner looked at one by one."""


class Shelf:
    """The rows that offer one model."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.prices = Order()
        self._times = Order()
        self._values: dict[int, Value] = {}

    def add(self, row: int, value: Value) -> None:
        """A row that is not here comes in."""
        price, time_us, did = self._values[row] = value
        self.rows.add(row)
        self.prices.add((price, time_us, did, row))
        self._times.add((time_us, price, did, row))

    def remove(self, row: int) -> None:
        """A row that is here goes out."""
        price, time_us, did = self._values.pop(row)
        self.rows.remove(row)
        self.prices.remove((price, time_us, did, row))
        self._times.remove((time_us, price, did, row))

    def best(self, mask: int, strategy: Strategy, limit: int) -> list[Value]:
        """The best rows in a mask, as many as `limit`, the best one first."""
        if mask.bit_count() <= _FEW:
            return sorted((self._values[row] for row in rows_of(mask)), key=lambda value: strategy.key(*value))[:limit]
        seen: set[int] = set()
        found: list[tuple[Key, int]] = []
        for entry, floor in self._walk(mask, strategy):
            if len(found) == limit and found[-1][0] < floor:
                break
            row = entry[3]
            if row not in seen:
                seen.add(row)
                insort(found, (strategy.key(*self._values[row]), row))
                del found[limit:]
        return [self._values[row] for _, row in found]

    def _walk(self, mask: int, strategy: Strategy) -> Iterator[tuple[Entry, Key]]:
        """Entries of both orders in turns, or of the one that counts; with a key that no row to come is below."""
        if not strategy.speed:
            for entry in self.prices.among(mask):
                yield entry, strategy.key(entry[0], entry[1], entry[2])
            return
        if not strategy.price:
            for entry in self._times.among(mask):
                yield entry, strategy.key(entry[1], entry[0], entry[2])
            return
        for by_price, by_time in zip(self.prices.among(mask), self._times.among(mask), strict=True):
            # To come are only rows that cost as much and take as long; who is just like this one has a later did.
            did = by_price[2] if by_price[1] == by_time[0] else ""
            floor = strategy.key(by_price[0], by_time[0], did)
            yield by_price, floor
            yield by_time, floor
