"""A hundred thousand offers, searched in milliseconds. Rule: it answers as `filters.misses` would, asked of each offer.

Every value of every filter has its rows, as bits of a number: a search is the intersection of a few of them, and a
count is the number of bits left. One offer of each issuer: a newer one takes the place of the one before.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from gpufair.protocol.messages import Isolation
from gpufair.protocol.search.facts import ANY, Facts, region, words
from gpufair.protocol.search.filters import Count, Filter, Miss, Search, misses
from gpufair.protocol.search.order import Order
from gpufair.protocol.search.rows import Rows
from gpufair.protocol.search.shelf import Shelf, Value
from gpufair.protocol.search.strategies import CHEAPEST, Strategy

Key = tuple[Filter, Hashable]
_ALL = ~0


@dataclass(frozen=True, slots=True)
class Change:
    """A filter whose absence would let offers through: how many, and what the reference picture costs from then on."""

    filter: Filter
    matches: int
    price: int


@dataclass(frozen=True, slots=True)
class Hit:
    """An offer that was found, with price and time of the reference picture."""

    did: str
    price: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave: of `known` offers `matches` passed, the best of them are `hits`.

    `changes` are there if nothing matched, the most useful one first; empty too if no single change would help.
    """

    known: int
    matches: int
    counts: tuple[Count, ...]
    hits: tuple[Hit, ...]
    changes: tuple[Change, ...] = ()


class Index:
    """The offers that are known, by the did of whoever made them."""

    def __init__(self) -> None:
        self._facts: dict[int, Facts] = {}
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._values: dict[Key, Rows] = {}
        self._memory = Order()
        self._shelves: dict[bytes, Shelf] = {}
        self._gpus: dict[str, set[str]] = {}
        """The names of GPUs that have a word."""

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, did: object) -> bool:
        return did in self._rows

    def has(self, facts: Facts) -> bool:
        """Whether the last offer of this issuer is here and said the same."""
        row = self._rows.get(facts.did)
        return row is not None and self._facts[row] == facts

    def add(self, new: Facts) -> None:
        """Take an offer in the place of its issuer's last one; what did not change is not touched."""
        row = self._rows.get(new.did)
        if row is None:
            row = self._rows[new.did] = heappop(self._free) if self._free else len(self._rows)
        self._change(row, self._facts.get(row), new)
        self._facts[row] = new

    def remove(self, did: str) -> None:
        """Forget the offer of an issuer, if it has one here."""
        row = self._rows.pop(did, None)
        if row is not None:
            self._change(row, self._facts.pop(row), None)
            heappush(self._free, row)

    def find(self, wanted: Search, strategy: Strategy = CHEAPEST, *, limit: int = 20) -> Found:
        """The best offers that pass every filter, with counts whatever comes out."""
        counts, left = [], _ALL
        for one in filter(wanted.asks, Filter):
            passing = self._passing(wanted, one)
            left &= passing
            counts.append(Count(one, passing.bit_count(), left.bit_count()))
        shelf = self._shelves.get(wanted.model)
        if not left or shelf is None:
            return Found(len(self), 0, tuple(counts), (), self._changes(wanted))
        hits = tuple(Hit(did, price, time_us) for price, time_us, did in shelf.best(left, strategy, limit))
        return Found(len(self), counts[-1].left, tuple(counts), hits)

    def misses(self, did: str, wanted: Search) -> tuple[Miss, ...]:
        """Why a search does not find the offer of an issuer; empty if it does. KeyError for whoever has none here."""
        return misses(self._facts[self._rows[did]], wanted)

    def unused(self, wanted: Search) -> Iterator[tuple[str, tuple[Miss, ...]]]:
        """Every offer that a search does not find, with all its reasons."""
        for did in sorted(self._rows):
            if why := self.misses(did, wanted):
                yield did, why

    # --- searching ---------------------------------------------------------------------------------------------------

    def _passing(self, wanted: Search, one: Filter) -> int:
        """The rows that pass one filter of a search."""
        if one is Filter.MEMORY:
            return self._memory.up_to(-wanted.memory_bytes)
        if one in (Filter.MODEL, Filter.PRICE):
            shelf = self._shelves.get(wanted.model)
            if shelf is None:
                return 0
            return shelf.rows.mask if one is Filter.MODEL else shelf.prices.up_to(wanted.price_max or 0)
        mask = 0
        for value in self._asked(wanted, one):
            rows = self._values.get((one, value))
            mask |= rows.mask if rows is not None else 0
        return mask

    def _asked(self, wanted: Search, one: Filter) -> Iterable[Hashable]:
        """The values of a filter of which one is enough."""
        asked: Iterable[Hashable] = ()
        match one:
            case Filter.NAME:
                asked = [wanted.name.lower()]
            case Filter.TASK:
                asked = [(wanted.model, wanted.task)]
            case Filter.CLASS:
                asked = [wanted.bid_class]
            case Filter.GPU:
                asked = self._named(wanted.gpu)
            case Filter.ISOLATION:
                asked = [tier for tier in Isolation if tier >= (wanted.isolation or 0)]
            case Filter.PROFILE:
                asked = [wanted.profile]
            case Filter.REGION:
                asked = [region(wanted.region)]
            case Filter.LEDGER:
                asked = wanted.ledgers
        return asked

    def _named(self, gpu: str) -> list[str]:
        """The names of GPUs that have these words, all in one name."""
        with_each = [self._gpus.get(word, set()) for word in words(gpu).split()]
        return sorted(set.intersection(*with_each)) if with_each else sorted(set().union(*self._gpus.values()))

    def _changes(self, wanted: Search) -> tuple[Change, ...]:
        found = []
        for gone in filter(wanted.asks, Filter):
            fewer, left = wanted.without(gone), _ALL
            for one in filter(fewer.asks, Filter):
                left &= self._passing(fewer, one)
            shelf = self._shelves.get(fewer.model)
            first = next(shelf.prices.among(left), None) if shelf is not None and left else None
            if first is not None and fewer != wanted:
                found.append(Change(gone, left.bit_count(), first[0]))
        return tuple(sorted(found, key=lambda change: (-change.matches, change.price, change.filter)))

    # --- keeping -----------------------------------------------------------------------------------------------------

    def _change(self, row: int, old: Facts | None, new: Facts | None) -> None:
        before, after = _values(old), _values(new)
        for key in before - after:
            self._drop(key, row)
        for key in after - before:
            if key not in self._values:
                self._values[key] = Rows()
                if key[0] is Filter.GPU:
                    for word in str(key[1]).split():
                        self._gpus.setdefault(word, set()).add(str(key[1]))
            self._values[key].add(row)
        had = None if old is None else (-old.memory_bytes, 0, old.did, row)
        has = None if new is None else (-new.memory_bytes, 0, new.did, row)
        if had != has:
            if had is not None:
                self._memory.remove(had)
            if has is not None:
                self._memory.add(has)
        self._reshelve(row, _shelved(old), _shelved(new))

    def _drop(self, key: Key, row: int) -> None:
        rows = self._values[key]
        rows.remove(row)
        if len(rows):
            return
        del self._values[key]
        if key[0] is Filter.GPU:
            for word in str(key[1]).split():
                names = self._gpus[word]
                names.discard(str(key[1]))
                if not names:
                    del self._gpus[word]

    def _reshelve(self, row: int, before: dict[bytes, Value], after: dict[bytes, Value]) -> None:
        for model, value in before.items():
            if after.get(model) != value:
                shelf = self._shelves[model]
                shelf.remove(row)
                if not len(shelf.rows):
                    del self._shelves[model]
        for model, value in after.items():
            if before.get(model) != value:
                self._shelves.setdefault(model, Shelf()).add(row, value)


def _values(facts: Facts | None) -> set[Key]:
    """Every value of an offer that a filter can ask for."""
    if facts is None:
        return set()
    found: set[Key] = {(Filter.TASK, (good.model, task)) for good in facts.goods for task in good.tasks}
    found |= {(Filter.TASK, (ANY, task)) for good in facts.goods for task in good.tasks}
    found |= {(Filter.CLASS, one) for one in facts.classes} | {(Filter.GPU, gpu) for gpu in facts.gpus}
    found |= {(Filter.PROFILE, one) for one in facts.profiles} | {(Filter.REGION, one) for one in facts.regions}
    found |= {(Filter.NAME, name) for name in facts.names}
    found |= {(Filter.LEDGER, did) for did in facts.ledgers}
    found.add((Filter.ISOLATION, facts.isolation))
    return found


def _shelved(facts: Facts | None) -> dict[bytes, Value]:
    """Price and time of each of an offer's models, and the best of all for whoever takes any."""
    if facts is None or not facts.goods:
        return {}
    goods = [*facts.goods, *filter(None, [facts.good(ANY)])]
    return {good.model: (good.price, good.time_us, facts.did) for good in goods}
