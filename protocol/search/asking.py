"""A search on its way to a directory. Rule: what arrives means what was meant, filter by filter."""

from __future__ import annotations

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import FilterCount, Isolation, SearchRequest
from gpufair.protocol.search.filters import Count, Search
from gpufair.protocol.search.strategies import Strategy


def request(wanted: Search, strategy: Strategy, limit: int = limits.FIND_MAX) -> SearchRequest:
    """The question. Raises PeerError for what no message can hold, when it is encoded."""
    return SearchRequest(
        limit=limit,
        price_weight=strategy.price,
        speed_weight=strategy.speed,
        model=wanted.model,
        name=wanted.name,
        tasks=() if wanted.task is None else (wanted.task,),
        classes=() if wanted.bid_class is None else (wanted.bid_class,),
        gpu=wanted.gpu,
        memory_bytes=wanted.memory_bytes,
        isolation=wanted.isolation or Isolation.NONE,
        profile=wanted.profile,
        region=wanted.region,
        ledgers=wanted.ledgers,
        price_max=wanted.price_max or 0,
    )


def meant(asked: SearchRequest) -> tuple[Search, Strategy]:
    """What a question asks for. Raises PeerError if neither price nor speed counts."""
    if not asked.price_weight and not asked.speed_weight:
        raise PeerError(Fault.MALFORMED, "neither price nor speed counts: nothing is the best then")
    wanted = Search(
        model=asked.model,
        name=asked.name,
        task=asked.tasks[0] if asked.tasks else None,
        bid_class=asked.classes[0] if asked.classes else None,
        gpu=asked.gpu,
        memory_bytes=asked.memory_bytes,
        isolation=None if asked.isolation is Isolation.NONE else asked.isolation,
        profile=asked.profile,
        region=asked.region,
        ledgers=asked.ledgers,
        price_max=asked.price_max or None,
    )
    return wanted, Strategy(asked.price_weight, asked.speed_weight)


def counted(counts: tuple[Count, ...]) -> tuple[FilterCount, ...]:
    """The counts of a search, for whoever asked."""
    return tuple(FilterCount(one.filter.value, one.alone, one.left) for one in counts)
