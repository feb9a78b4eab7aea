"""The owner's allow and refuse lists. Rule: what is refused is not sold, whatever else allows it.

An entry is a name, the first six digits or more of a digest, or `licence:` and a licence as `models list` shows it.
"""

from __future__ import annotations

from typing import Protocol

from gpufair.provider.config import DIGITS_MIN, LICENCE, NO_LICENCE, ModelsConfig


class Described(Protocol):
    """A model or an adapter, as far as the lists can tell."""

    @property
    def digest(self) -> bytes:
        """What it is."""
        ...

    @property
    def name(self) -> str:
        """What the owner calls it."""
        ...

    @property
    def licence(self) -> str:
        """What its card says; empty if nothing."""
        ...


def sold(one: Described, lists: ModelsConfig) -> bool:
    """Whether the lists let this be sold: not refused, and allowed if there is an allow list."""
    return not _listed(one, lists.refuse) and (not lists.allow or _listed(one, lists.allow))


def _listed(one: Described, entries: tuple[str, ...]) -> bool:
    return any(_means(entry, one) for entry in entries)


def _means(entry: str, one: Described) -> bool:
    if entry.startswith(LICENCE):
        wanted = entry.removeprefix(LICENCE).strip().casefold()
        return wanted == (one.licence.strip().casefold() or NO_LICENCE)
    return one.name == entry or (len(entry) >= DIGITS_MIN and one.digest.hex().startswith(entry.lower()))
