"""A token bucket per connection. Rule: one caller's flood costs that caller, and what is remembered is bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from gpufair.protocol import limits


class Buckets:
    """Every connection's bucket; it refills `rate` tokens a second, up to `burst`, by the monotonic clock `now_s`."""

    def __init__(
        self, now_s: Callable[[], float], *, rate: float = limits.BUCKET_RATE, burst: float = limits.BUCKET_BURST
    ) -> None:
        self._now_s = now_s
        self._rate = rate
        self._burst = burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # connection: (tokens, when), oldest first

    def take(self, connection: str) -> float:
        """Take a token: 0 if there was one; otherwise the seconds until there is, and nothing is taken."""
        now = self._now_s()
        tokens, when = self._levels.pop(connection, (self._burst, now))
        tokens = min(self._burst, tokens + (now - when) * self._rate)
        lacking = max(0.0, 1.0 - tokens)
        self._levels[connection] = (tokens if lacking else tokens - 1, now)
        if len(self._levels) > limits.CONNECTIONS_TRACKED:
            self._levels.popitem(last=False)  # idle for longest, so the fullest or near it
        return lacking / self._rate

    def __len__(self) -> int:
        return len(self._levels)
