"""What is asked of a directory that knows many offers. Rule: it is believed in nothing, and all is checked again.

The filters are those of `protocol/search`; what is empty, or 0, is not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gpufair.protocol import fields as f
from gpufair.protocol import gossip_limits, limits
from gpufair.protocol.messages.common import Envelope
from gpufair.protocol.messages.market import BidClass, Isolation, Task

Weight = Annotated[int, f.Range(0, gossip_limits.WEIGHT_MAX)]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The best offers, please: by price to the power of the one weight, times time to the power of the other."""

    limit: Annotated[int, f.Range(1, limits.FIND_MAX)]
    price_weight: Weight
    speed_weight: Weight
    model: f.MaybeDigest = b""
    name: f.MaybeName = ""
    """Of a model; it takes all that are called so, whoever calls them so."""
    tasks: Annotated[tuple[Task, ...], f.Size(0, 1)] = ()
    classes: Annotated[tuple[BidClass, ...], f.Size(0, 1)] = ()
    gpu: f.MaybeName = ""
    memory_bytes: f.Count = 0
    isolation: Isolation = Isolation.NONE
    profile: f.MaybeDigest = b""
    region: f.MaybeName = ""
    ledgers: Annotated[tuple[f.Did, ...], f.Size(0, limits.OFFER_LEDGERS_MAX)] = ()
    price_max: f.Amount = 0


@dataclass(frozen=True, slots=True)
class FilterCount:
    """How many offers pass a filter, and how many are left after it and those before it."""

    filter: f.Name
    alone: f.Small
    left: f.Small


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Of `known` offers `matches` passed; the best of them, as many as were asked for and fit into one message."""

    known: f.Small
    matches: f.Small
    counts: Annotated[tuple[FilterCount, ...], f.Size(0, 32)] = ()
    offers: Annotated[tuple[Envelope, ...], f.Size(0, limits.FIND_MAX)] = ()
