"""The part of `gpufaird status` about others. Rule: each line says what a source gives, or why it gives nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gpufair.protocol import limits

_LISTED_MAX = 8
"""Learned peers with trouble that are shown one by one."""


def lines(answer: dict[str, Any]) -> Iterator[str]:
    """What is to be printed of an answer to `status`."""
    from gpufair.protocol import identity

    for peer in answer["peers"]:
        yield f"peer       {peer['address']}: {_words(peer)}"
        if peer["error"] and peer["error"] != peer["why"]:
            yield f"           it does not know us: {peer['error']}"
    known = answer["directory"]
    full = ", which is full" if known["places"] >= known["places_max"] else ""
    held = f"{_count(known['offers'], 'offer')}, {_count(known['records'], 'node record')}"
    if known["evidence"]:
        held += f", evidence against cheats ({known['evidence']})"
    yield f"directory  {held} ({known['bytes'] // limits.KIB:,} KiB){full}"
    if known["learned"]:
        kinds = Counter(peer["trouble"] or "well" for peer in known["learned"])
        each = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        yield f"learned    {_count(len(known['learned']), 'peer')}: {each}"
    for peer in [peer for peer in known["learned"] if peer["trouble"]][:_LISTED_MAX]:
        yield f"           {identity.short(peer['did'])}: {_words(peer)}"
    if known["published"]:
        most = known["published"][0]
        count = sum(source["documents"] for source in known["published"])
        yield f"published  {_count(count, 'document')} by others here, {most['documents']} from {most['address']}"


def _words(peer: dict[str, Any]) -> str:
    seen = "" if peer["seen_ms_ago"] is None else f" (seen {_ago(peer['seen_ms_ago'])})"
    if peer["trouble"]:
        return f"{peer['trouble']}: {peer['why']}{seen}"
    if not seen:
        return "not asked yet"
    level = "has what we have; " if peer["level_ms_ago"] is not None else ""
    return f"{level}{_count(peer['offers'], 'offer')} came from it{seen}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _ago(ms: int) -> str:
    seconds = max(0, ms) // 1000
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
