"""What a directory knows, and from whom. Rule: of every source it is said why it gives nothing, if it does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gpufair.protocol import gossip_limits
from gpufair.provider.directory.company import Company, Mate, Trouble
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import OWN, Kind


@dataclass(frozen=True, slots=True)
class Source:
    """A directory that we exchange documents with, or (no did) an address that published here."""

    name: str
    documents: int
    """Live ones for which it answers."""
    offers: int
    is_peer: bool = False
    named: bool = False
    """By our owner."""
    seen_ms: int = 0
    level_ms: int = 0
    """When it last had exactly what we have."""
    trouble: Trouble = Trouble.NONE
    why: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """All of it in numbers. `places` are taken, those of expired documents included; `others`: sources not listed."""

    digest: bytes
    """Two directories with the same one have the same documents."""
    counts: dict[Kind, int]
    size: int
    places: int
    sources: tuple[Source, ...]
    others: int


def standing(directory: Directory, company: Company) -> Known:
    """Count what there is; the sources that give most are listed, peers first."""
    documents, offers = Counter[str](), Counter[str]()
    for held in directory.live():
        documents[held.source] += 1
        offers[held.source] += held.kind is Kind.OFFER
    mates = list(company)
    sources = [_source(mate, documents[mate.did], offers[mate.did]) for mate in mates]
    strangers = set(documents) - {mate.did for mate in mates} - {OWN.source}
    most = sorted(strangers, key=lambda name: (-documents[name], name))[: gossip_limits.GOSSIP_PEERS_MAX]
    sources += [Source(name, documents[name], offers[name]) for name in most]
    return Known(
        directory.tree.digest(), directory.counts(), directory.size, directory.rows, tuple(sources),
        len(strangers) - len(most),
    )  # fmt: skip


def _source(mate: Mate, documents: int, offers: int) -> Source:
    return Source(
        mate.did, documents, offers, is_peer=True, named=mate.typed, seen_ms=mate.seen_ms, level_ms=mate.level_ms,
        trouble=mate.trouble, why=mate.why,
    )  # fmt: skip
