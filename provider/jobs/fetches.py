"""Deliveries that are fetched again. Rule: a lease reads so many at a time, and so many bytes a minute, and no more.

Nobody pays for reading again: without a bound, one lease could have this machine's memory and its line for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.ports import Clock

AGAIN = "ask again in a minute"


@dataclass
class _Use:
    since_ms: int
    spent: int = 0
    going: int = 0


class Fetches:
    """What every lease has fetched in its current minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._uses: dict[bytes, _Use] = {}

    @contextmanager
    def one(self, lease: bytes) -> Iterator[Callable[[int], None]]:
        """One delivery is fetched in this block; tell what is given how many bytes it has. Raises PeerError (LIMIT)."""
        use = self._use(lease)
        if use.going >= limits.FETCHES_PER_LEASE_MAX:
            what = f"{use.going} deliveries of this lease are being fetched already"
            raise PeerError(Fault.LIMIT, what, hint="fetch one after the other")
        if use.spent >= limits.FETCH_BYTES_MAX:  # the last one may go beyond: how large it is, only its row says
            raise PeerError(Fault.LIMIT, f"this lease has fetched {use.spent} bytes within a minute", hint=AGAIN)
        use.going += 1
        try:
            yield lambda size: _spend(use, size)
        finally:
            use.going -= 1

    def __len__(self) -> int:
        return len(self._uses)

    def _use(self, lease: bytes) -> _Use:
        now = self._clock.now_ms()
        for key in [k for k, use in self._uses.items() if not use.going and abs(now - use.since_ms) >= limits.MINUTE]:
            del self._uses[key]
        use = self._uses.setdefault(lease, _Use(now))
        if abs(now - use.since_ms) >= limits.MINUTE:
            use.since_ms, use.spent = now, 0
        return use


def _spend(use: _Use, size: int) -> None:
    use.spent += size
