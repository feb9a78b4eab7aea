"""What a search gave, for people. Rule: how many pass each filter is always said, whatever comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from gpufair.client.cli.views import about, offer_lines
from gpufair.protocol import identity
from gpufair.protocol.timing import UNMEASURED_US
from gpufair.protocol.units import show

if TYPE_CHECKING:
    from gpufair.client.market.searching import Searched
    from gpufair.protocol.messages import SearchAnswer
    from gpufair.protocol.search.filters import Count, Miss
    from gpufair.protocol.search.index import Found
    from gpufair.protocol.search.strategies import Strategy

Unused = Iterable[tuple[str, tuple["Miss", ...]]]

_PICTURE = "a picture of 512x512 in 25 guided steps"


def offers(result: Searched) -> Iterator[Text]:
    """The offers that were found, each with what the picture costs there that they are compared by."""
    for offer, hit in zip(result.offers, result.found.hits, strict=True):
        yield from offer_lines(offer)
        time = about(hit.time_us) if hit.time_us < UNMEASURED_US else ""
        yield Text(f"   {show(hit.price)} {_PICTURE}" + (f", {time}" if time else ""), style="dim")


def counts(result: Searched) -> Iterator[str]:
    """How many there are, and how many pass each filter."""
    found = result.found
    shown = f", the best {len(found.hits)} are shown" if found.matches > len(found.hits) else ""
    yield f"\n{found.matches} of {found.known} offers match{shown}"
    yield counted(found.counts, found.known)
    if result.idle:
        yield f"{result.idle} sell{'s' if result.idle == 1 else ''} nothing just now"


def directories(searches: Mapping[str, SearchAnswer]) -> Iterator[str]:
    """What the directories say that were asked to search, because they know more than was read."""
    for source, answer in searches.items():
        passed = " · ".join(f"{one.filter} {one.alone} (left {one.left})" for one in answer.counts)
        yield f"{source} says that it knows {answer.known} offers, of which {answer.matches} match: {passed}"


def counted(some: Iterable[Count], known: int) -> str:
    """How many offers pass each filter, and are left after it."""
    parts = [f"{one.filter} {one.alone}" + (f" (left {one.left})" if one.left != one.alone else "") for one in some]
    return f"of {known} pass: {' · '.join(parts)}"


def unused(some: Unused) -> Iterator[str]:
    """Every offer that is left out, with all its reasons."""
    for did, misses in some:
        yield f"  {identity.short(did)}  {'; '.join(map(str, misses))}"


def banned(some: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Who is not looked at, and why."""
    for did, why in some:
        yield f"banned: {identity.short(did)}  {why}"


def advice(found: Found) -> Iterator[str]:
    """What to do next; where nothing matches, which one filter to leave out."""
    if found.matches:
        yield "\nNext: gpufair run 'a fox on a green background'"
    for change in found.changes[:3]:
        some = f"{change.matches} offer{'' if change.matches == 1 else 's'}"
        yield f"without {change.filter.option}: {some}, from {show(change.price)} {_PICTURE}"
    if not found.matches and not found.changes:
        yield "No single change would help. Next: gpufair offers, or gpufair peers add HOST:PORT"


def unused_objects(some: Unused) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "provider": did,
            "misses": [{"filter": miss.filter.value, "wanted": miss.wanted, "found": miss.found} for miss in misses],
        }
        for did, misses in some
    ]


def the_best(how: Strategy) -> str:
    """What the first offer is."""
    named = {"cheapest": "the cheapest", "fastest": "the fastest", "balanced": "the best for price and time"}
    return named.get(str(how), f"the best by {how}")
