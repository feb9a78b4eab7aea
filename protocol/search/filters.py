"""What is looked for, and whether one offer is that. Rule: a filter looks at one offer alone; this is its meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gpufair.protocol.messages import BidClass, Isolation, Task
from gpufair.protocol.search.facts import ANY, Facts, Good, region, words
from gpufair.protocol.units import show

_GIB = 1024**3


class Filter(StrEnum):
    """What can be asked for, in the order in which filters are applied and counted."""

    MODEL = "model"
    NAME = "name"
    TASK = "task"
    CLASS = "class"
    GPU = "gpu"
    MEMORY = "memory"
    ISOLATION = "isolation"
    PROFILE = "profile"
    REGION = "region"
    LEDGER = "ledger"
    PRICE = "price"

    @property
    def option(self) -> str:
        """What a person writes for it."""
        return "--max-price" if self is Filter.PRICE else f"--{self.value}"


@dataclass(frozen=True, slots=True)
class Search:
    """A search. What is empty, None or 0 is not asked for; of `ledgers` one is enough.

    `name` is what a seller calls some model of its; `gpu` are words of one GPU's name; `memory_bytes` the least,
    `isolation` the weakest, `price_max` (micro-credits for the reference picture) the most that will do; `region` is a
    whole one, or its beginning up to a hyphen.
    """

    model: bytes = ANY
    name: str = ""
    task: Task | None = None
    bid_class: BidClass | None = None
    gpu: str = ""
    memory_bytes: int = 0
    isolation: Isolation | None = None
    profile: bytes = b""
    region: str = ""
    ledgers: tuple[str, ...] = ()
    price_max: int | None = None

    def asks(self, one: Filter) -> bool:
        """Whether this filter leaves anything out. Whoever sells nothing is always left out, by the model."""
        return one is Filter.MODEL or getattr(self, _FIELDS[one]) != getattr(EVERY, _FIELDS[one])

    def without(self, one: Filter) -> Search:
        """The search with one filter fewer."""
        return replace(self, **{_FIELDS[one]: getattr(EVERY, _FIELDS[one])})


_FIELDS = {one: one.value for one in Filter} | {
    Filter.CLASS: "bid_class",
    Filter.MEMORY: "memory_bytes",
    Filter.LEDGER: "ledgers",
    Filter.PRICE: "price_max",
}
EVERY = Search()
"""The search that all offers pass which sell anything."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A filter that an offer does not pass: what was wanted, and what there is, in words."""

    filter: Filter
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.filter}: {self.wanted} wanted, here {self.found or 'none'}"


def has_words(gpu: str, wanted: str) -> bool:
    """Whether a GPU's name (as `words` makes it) has all of the wanted words."""
    return set(words(wanted).split()) <= set(gpu.split())


@dataclass(frozen=True, slots=True)
class Count:
    """How many offers a filter lets through, whatever the others do, and how many are left after it and all before it.

    Task and price are looked at for the model that is wanted, so whoever has not that one does not pass them either.
    """

    filter: Filter
    alone: int
    left: int


def tally(found: Sequence[tuple[Miss, ...]], wanted: Search) -> tuple[Count, ...]:
    """The counts of a search, given the misses of every offer."""
    failed = [{miss.filter for miss in one} for one in found]
    counts, before = [], set[Filter]()
    for one in filter(wanted.asks, Filter):
        before.add(one)
        counts.append(Count(one, sum(one not in each for each in failed), sum(not before & each for each in failed)))
    return tuple(counts)


def misses(here: Facts, wanted: Search) -> tuple[Miss, ...]:
    """Every filter of a search that an offer does not pass; none: it is found."""
    good = here.good(wanted.model)
    return tuple(
        Miss(one, meaning.wanted(wanted), meaning.found(here, good))
        for one, meaning in _MEANINGS.items()
        if wanted.asks(one) and not meaning.passes(here, good, wanted)
    )


def gibibytes(count: int) -> str:
    """Bytes of memory for people."""
    return f"{count / _GIB:.3g} GiB"


@dataclass(frozen=True, slots=True)
class _Meaning:
    """Of one filter: whether an offer passes, given the model that is wanted there; both sides in words."""

    passes: Callable[[Facts, Good | None, Search], bool]
    wanted: Callable[[Search], str]
    found: Callable[[Facts, Good | None], str]


def _name(one: Task | BidClass | Isolation | None) -> str:
    return one.name.lower() if one is not None else ""


def _names(some: tuple[Task, ...] | tuple[BidClass, ...]) -> str:
    return ", ".join(map(_name, some))


def _digits(digests: tuple[bytes, ...]) -> str:
    return ", ".join(digest.hex()[:12] for digest in digests[:3])


_MEANINGS = {
    Filter.MODEL: _Meaning(
        lambda _here, good, _wanted: good is not None,
        lambda wanted: _digits((wanted.model,)) or "any",
        lambda here, _good: _digits(tuple(good.model for good in here.goods)),
    ),
    Filter.NAME: _Meaning(
        lambda here, _good, wanted: wanted.name.lower() in here.names,
        lambda wanted: wanted.name,
        lambda here, _good: ", ".join(here.names[:3]),
    ),
    Filter.TASK: _Meaning(
        lambda _here, good, wanted: good is not None and wanted.task in good.tasks,
        lambda wanted: _name(wanted.task),
        lambda _here, good: _names(good.tasks) if good is not None else "",
    ),
    Filter.CLASS: _Meaning(
        lambda here, _good, wanted: wanted.bid_class in here.classes,
        lambda wanted: _name(wanted.bid_class),
        lambda here, _good: _names(here.classes),
    ),
    Filter.GPU: _Meaning(
        lambda here, _good, wanted: any(has_words(gpu, wanted.gpu) for gpu in here.gpus),
        lambda wanted: words(wanted.gpu),
        lambda here, _good: ", ".join(here.gpus[:3]),
    ),
    Filter.MEMORY: _Meaning(
        lambda here, _good, wanted: here.memory_bytes >= wanted.memory_bytes,
        lambda wanted: gibibytes(wanted.memory_bytes),
        lambda here, _good: gibibytes(here.memory_bytes),
    ),
    Filter.ISOLATION: _Meaning(
        lambda here, _good, wanted: here.isolation >= (wanted.isolation or 0),
        lambda wanted: _name(wanted.isolation),
        lambda here, _good: _name(here.isolation),
    ),
    Filter.PROFILE: _Meaning(
        lambda here, _good, wanted: wanted.profile in here.profiles,
        lambda wanted: _digits((wanted.profile,)),
        lambda here, _good: _digits(here.profiles),
    ),
    Filter.REGION: _Meaning(
        lambda here, _good, wanted: region(wanted.region) in here.regions,
        lambda wanted: region(wanted.region),
        lambda here, _good: here.regions[-1] if here.regions else "",
    ),
    Filter.LEDGER: _Meaning(
        lambda here, _good, wanted: bool(set(wanted.ledgers) & set(here.ledgers)),
        lambda wanted: ", ".join(wanted.ledgers[:3]),
        lambda here, _good: ", ".join(here.ledgers[:3]),
    ),
    Filter.PRICE: _Meaning(
        lambda _here, good, wanted: good is not None and good.price <= (wanted.price_max or 0),
        lambda wanted: f"at most {show(wanted.price_max or 0)}",
        lambda _here, good: show(good.price) if good is not None else "",
    ),
}
