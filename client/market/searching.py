"""Looking around a market before there is a job. Rule: what was gathered and checked is what is searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpufair.client.market.market import Market
from gpufair.protocol.envelope import Signed
from gpufair.protocol.messages import Offer
from gpufair.protocol.search.facts import facts
from gpufair.protocol.search.filters import Miss, Search
from gpufair.protocol.search.index import Found, Index
from gpufair.protocol.search.strategies import CHEAPEST, Strategy


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search gave: the offers in the order of its hits, and why each of the others is left out."""

    wanted: Search
    found: Found
    offers: tuple[Signed[Offer], ...]
    unused: tuple[tuple[str, tuple[Miss, ...]], ...]
    banned: tuple[tuple[str, str], ...] = ()
    """Sellers that are not looked at because the wallet doesn't buy from them, and why."""

    @property
    def idle(self) -> int:
        """Providers that sell nothing just now, as far as the search tells."""
        return 0 if self.wanted.model else self.found.known - self.found.counts[0].alone


def search(
    market: Market,
    wanted: Search,
    strategy: Strategy = CHEAPEST,
    *,
    limit: int = 20,
    bans: Mapping[str, str] = MappingProxyType({}),
) -> Searched:
    """The best offers of a market that pass every filter; `bans` are the sellers that one doesn't buy from, and why."""
    index, by_did = Index(), {offer.issuer: offer for offer in market.offers if offer.issuer not in bans}
    for did, offer in by_did.items():
        index.add(facts(did, offer.doc))
    found = index.find(wanted, strategy, limit=limit)
    offers, unused = tuple(by_did[hit.did] for hit in found.hits), tuple(index.unused(wanted))
    banned = tuple((offer.issuer, bans[offer.issuer]) for offer in market.offers if offer.issuer in bans)
    return Searched(wanted, found, offers, unused, banned)
