"""What a node says of others to its owner. Rule: whoever gives nothing is shown with the reason, words and kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpufair.protocol import limits
from gpufair.provider.directory.documents import Kind
from gpufair.provider.directory.standing import Known, Source
from gpufair.provider.rpc.publisher import PeerState


def peers(states: Iterable[PeerState], known: Known, now_ms: int) -> list[dict[str, Any]]:
    """Each peer that the owner named: whether it knows us, and what it gives."""
    sources = {source.name: source for source in known.sources}
    found = []
    for state in states:
        source = sources.get(state.did)
        told = {"address": str(state.address.endpoint), "did": state.did, "error": state.error}
        if source is None:
            source = Source(state.did, 0, 0, trouble=state.trouble, why=state.error)
        found.append(told | _source(source, now_ms))
    return found


def directory(known: Known, now_ms: int) -> dict[str, Any]:
    """What is known, and from whom."""
    learned = [source for source in known.sources if source.is_peer and not source.named]
    return {
        "digest": known.digest.hex(),
        "records": known.counts[Kind.RECORD],
        "offers": known.counts[Kind.OFFER],
        "evidence": known.counts[Kind.EVIDENCE],
        "bytes": known.size,
        "places": known.places,
        "places_max": limits.DIRECTORY_RECORDS_MAX,
        "learned": [{"did": source.name, **_source(source, now_ms)} for source in learned],
        "published": [
            {"address": source.name, "documents": source.documents, "offers": source.offers}
            for source in known.sources
            if not source.is_peer
        ],
    }


def _source(source: Source, now_ms: int) -> dict[str, Any]:
    return {
        "documents": source.documents,
        "offers": source.offers,
        "seen_ms_ago": now_ms - source.seen_ms if source.seen_ms else None,
        "level_ms_ago": now_ms - source.level_ms if source.level_ms else None,
        "trouble": source.trouble.value,
        "why": source.why,
    }
