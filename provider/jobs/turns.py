"""Whose turn it is. Rule: the oldest first; the warm may pass the cold, but nobody is passed for ever.

A job whose model is in a worker's memory starts at once, one whose model is not waits for it: a few of the former go
before. An attempt that needs a worker for itself waits until one is empty: a few of those that share go before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from gpufair.protocol.limits import PASSES_MAX
from gpufair.provider.workers.places import Wish, needed


@dataclass
class Turn:
    """An attempt that waits, under its lease, and how often others went before it."""

    attempt: bytes
    lease: bytes
    wish: Wish
    passed: int = 0


class Turns:
    """The queue, in the order in which attempts came."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Turn] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, turn: Turn) -> None:
        """One more; who waits already keeps its turn."""
        self._waiting.setdefault(turn.attempt, turn)

    def remove(self, attempt: bytes) -> None:
        """It does not wait any more."""
        self._waiting.pop(attempt, None)

    def clear(self) -> None:
        """Nobody waits any more."""
        self._waiting.clear()

    def ready(self, busy: Collection[bytes]) -> list[Turn]:
        """Those whose lease is not among the `busy` ones, the oldest first."""
        return [turn for turn in self._waiting.values() if turn.lease not in busy]


def choose(ready: Iterable[Turn], running: Collection[Wish], size: int, warm: Collection[bytes]) -> Turn | None:
    """Who goes next to `size` workers beside what runs there; None if nobody can now."""
    oldest: Turn | None = None
    for turn in _may_go(ready):
        if needed([*running, turn.wish]) <= size:
            if turn.wish.model in warm:
                return turn
            oldest = oldest or turn
    return oldest


def went(chosen: Turn, ready: Iterable[Turn]) -> None:
    """Count it for everybody who came before."""
    for turn in ready:
        if turn is chosen:
            return
        turn.passed += 1


def _may_go(ready: Iterable[Turn]) -> Iterator[Turn]:
    """The oldest ones, as far as the first that may not be passed any more."""
    for turn in ready:
        yield turn
        if turn.passed >= PASSES_MAX:
            return
