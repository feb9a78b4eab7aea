"""The machine's clock and randomness. Rule: nothing else in gpufair reads either; everybody is handed these two."""

from __future__ import annotations

import os
import time


def monotonic_s() -> float:
    """Seconds on a clock that is never set: for waits and rates, never for a date."""
    return time.monotonic()


class SystemClock:
    """The machine's wall clock."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000


class SystemRandom:
    """The operating system's randomness, fit for keys."""

    def bytes(self, count: int) -> bytes:
        """`count` unpredictable bytes."""
        return os.urandom(count)
