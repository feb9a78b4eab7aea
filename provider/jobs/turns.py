"""Whose turn it is. Rule: class, then what a step pays, then age; and nobody is passed for ever.

On demand goes before interruptible, and among their like those first who pay more for a step-megapixel. Waiting counts
as paying: whoever has waited for `AGEING_MS` longer counts as if it paid twice as much, so two that wait never change
places; and after `PROMOTED_MS` a job goes by its age alone, whatever its class.

A job whose model is in a worker's memory starts at once, one whose model is not waits for it: a few of the former go
before. An attempt that needs a worker for itself waits until one is empty: a few of those that share go before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from math import log2

from gpufair.protocol.limits import AGEING_MS, PASSES_MAX, PROMOTED_MS
from gpufair.provider.workers.places import Wish, needed


@dataclass
class Turn:
    """An attempt that waits, of a job under a lease, and how often others that rank below it went before."""

    attempt: bytes
    lease: bytes
    job: bytes
    wish: Wish
    since_ms: int
    """When its job was accepted."""
    rate: int
    """What it pays for a step-megapixel, in micro-credits: something."""
    steps: int
    """Those of all its pictures."""
    interruptible: bool = False
    lasts_ms: int = 0
    """About how long it will take; 0: nobody has measured."""
    passed: int = 0

    def rank(self, now_ms: int) -> tuple[int, float, int]:
        """Its place in the order: whoever has the smallest goes first."""
        if now_ms - self.since_ms >= PROMOTED_MS:
            return 0, self.since_ms, self.interruptible
        return 1 + self.interruptible, self.since_ms - AGEING_MS * log2(self.rate), -self.rate


class Turns:
    """The queue."""

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

    def ready(self, busy: Collection[bytes], now_ms: int) -> list[Turn]:
        """Those whose lease is not among the `busy` ones, in the order of their ranks; of equals, who came first."""
        return sorted((t for t in self._waiting.values() if t.lease not in busy), key=lambda turn: turn.rank(now_ms))


def choose(ready: Iterable[Turn], running: Collection[Wish], size: int, warm: Collection[bytes]) -> Turn | None:
    """Who goes next to `size` workers beside what runs there; None if nobody can now."""
    first: Turn | None = None
    for turn in _may_go(ready):
        if needed([*running, turn.wish]) <= size:
            if turn.wish.model in warm:
                return turn
            first = first or turn
    return first


def went(chosen: Turn, ready: Iterable[Turn]) -> None:
    """Count it for everybody who ranks before."""
    for turn in ready:
        if turn is chosen:
            return
        turn.passed += 1


def _may_go(ready: Iterable[Turn]) -> Iterator[Turn]:
    """The first ones, as far as the one that may not be passed any more."""
    for turn in ready:
        yield turn
        if turn.passed >= PASSES_MAX:
            return
