"""What the pure code needs from the world. Rule: clock and randomness come in here, so a simulator can rule."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall time."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...


class Random(Protocol):
    """Randomness fit for keys."""

    def bytes(self, count: int) -> bytes:
        """`count` unpredictable bytes."""
        ...
