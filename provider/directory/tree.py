"""What a directory has, as a tree of digests. Rule: equal sets of headings give equal trees, whatever came first.

A part of the tree is named by a prefix of hexadecimal digits. Up to `LEAF_HEADINGS` headings are a leaf: its digest is
over them, sorted. More are sixteen parts, and the digest is over theirs. Nothing is added up or XORed, so nobody can
choose documents that make up for a missing one; and a part that many places were chosen to fall into only gets deeper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from gpufair.protocol import gossip_limits
from gpufair.protocol.messages import Branch, Heading

EMPTY = b""
"""The digest of nothing."""
_DIGITS = "0123456789abcdef"
_BLANK = bytes(gossip_limits.PLACE_BYTES)


class _Part:
    """A leaf has `here`; anything larger has `parts`."""

    __slots__ = ("count", "digest", "here", "parts")

    def __init__(self) -> None:
        self.count = 0
        self.digest: bytes | None = EMPTY
        self.here: dict[bytes, int] | None = {}
        self.parts: list[_Part] = []


@dataclass(frozen=True, slots=True)
class Look:
    """What is under a prefix: all headings if they are few, else what the sixteen parts are."""

    digest: bytes
    headings: tuple[Heading, ...] | None
    branches: tuple[Branch, ...]


class Tree:
    """Places and their sequences."""

    def __init__(self) -> None:
        self._root = _Part()
        self._sequences: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._sequences)

    def get(self, place: bytes) -> int:
        """The sequence at a place; 0 if nothing is there."""
        return self._sequences.get(place, 0)

    def put(self, place: bytes, sequence: int) -> None:
        """Have this sequence at a place."""
        is_new = place not in self._sequences
        self._sequences[place] = sequence
        part, depth, digits = self._root, 0, place.hex()
        while True:
            part.digest = None
            part.count += is_new
            if part.here is not None:
                break
            part, depth = part.parts[int(digits[depth], 16)], depth + 1
        part.here[place] = sequence
        if part.count > gossip_limits.LEAF_HEADINGS:
            _split(part, depth)

    def drop(self, place: bytes) -> None:
        """Have nothing at a place."""
        if self._sequences.pop(place, None) is None:
            return
        part, depth, digits, small = self._root, 0, place.hex(), None
        while True:
            part.digest = None
            part.count -= 1
            if part.here is not None:
                break
            if small is None and part.count <= gossip_limits.LEAF_HEADINGS:
                small = part
            part, depth = part.parts[int(digits[depth], 16)], depth + 1
        del part.here[place]
        if small is not None:
            small.here, small.parts = dict(_all(small)), []

    def digest(self, prefix: str = "") -> bytes:
        """The digest of what is under a prefix."""
        part, depth = self._part(prefix)
        if part.here is None or depth == len(prefix):
            return _digest(part)
        return _leaf_digest(_within(part.here, prefix))

    def look(self, prefix: str) -> Look:
        """What is under a prefix."""
        part, depth = self._part(prefix)
        if part.here is not None:
            inside = part.here if depth == len(prefix) else _within(part.here, prefix)
            digest = _digest(part) if inside is part.here else _leaf_digest(inside)
            return Look(digest, tuple(Heading(place, n) for place, n in sorted(inside.items())), ())
        parts = zip(_DIGITS, part.parts, strict=True)
        branches = tuple(Branch(prefix + digit, _digest(one)) for digit, one in parts if one.count)
        return Look(_digest(part), None, branches)

    def _part(self, prefix: str) -> tuple[_Part, int]:
        """The smallest part that holds all that is under a prefix, and how many digits lead to it."""
        part, depth = self._root, 0
        while part.here is None and depth < len(prefix):
            part, depth = part.parts[_DIGITS.index(prefix[depth])], depth + 1
        return part, depth

    def under(self, prefix: str, most: int) -> list[Heading]:
        """Headings under a prefix, up to `most`."""
        found: list[Heading] = []
        waiting = [prefix]
        while waiting and len(found) < most:
            look = self.look(waiting.pop())
            found += look.headings or ()
            waiting += (branch.prefix for branch in look.branches)
        return found[:most]


def _within(here: dict[bytes, int], prefix: str) -> dict[bytes, int]:
    return {place: sequence for place, sequence in here.items() if place.hex().startswith(prefix)}


def _split(part: _Part, depth: int) -> None:
    here, part.here, part.parts = part.here or {}, None, [_Part() for _ in _DIGITS]
    for place, sequence in here.items():
        below = part.parts[int(place.hex()[depth], 16)]
        assert below.here is not None
        below.here[place] = sequence
        below.count, below.digest = below.count + 1, None
    for below in part.parts:
        if below.count > gossip_limits.LEAF_HEADINGS:
            _split(below, depth + 1)


def _all(part: _Part) -> Iterator[tuple[bytes, int]]:
    if part.here is not None:
        yield from part.here.items()
    for below in part.parts:
        yield from _all(below)


def _digest(part: _Part) -> bytes:
    if part.digest is None:
        if part.here is not None:
            part.digest = _leaf_digest(part.here)
        else:
            joined = b"".join(_digest(one) or _BLANK for one in part.parts)
            part.digest = hashlib.sha256(b"\x01" + joined).digest()[: gossip_limits.PLACE_BYTES]
    return part.digest


def _leaf_digest(headings: dict[bytes, int]) -> bytes:
    if not headings:
        return EMPTY
    joined = b"".join(place + sequence.to_bytes(8, "big") for place, sequence in sorted(headings.items()))
    return hashlib.sha256(b"\x00" + joined).digest()[: gossip_limits.PLACE_BYTES]
