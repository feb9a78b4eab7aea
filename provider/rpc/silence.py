"""Calls on which nothing was said yet. Rule: each says something soon, and one address has few that have not.

Such a call costs whoever opens it nothing and takes one of the places that all calls share.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from gpufair.protocol import limits, server_limits
from gpufair.protocol.errors import Fault, PeerError


class Silence:
    """The silent calls of a server, by address."""

    def __init__(self, within_ms: int = limits.STREAM_OPEN_MS, most: int = server_limits.SILENT_CALLS_MAX) -> None:
        self._within_s = within_ms / 1000
        self._most = most
        self._silent: Counter[str] = Counter()

    async def first(self, requests: AsyncIterator[Any], address: str) -> Any:
        """A call's first message; None if its caller has ended it without one. Raises PeerError."""
        if self._silent[address] >= self._most:
            raise PeerError(Fault.LIMIT, "too many calls from this address on which nothing is said")
        self._silent[address] += 1
        try:
            async with asyncio.timeout(self._within_s):
                return await anext(requests, None)
        except TimeoutError as error:
            raise PeerError(Fault.EXPIRED, f"nothing was said on the call for {self._within_s:g} s") from error
        finally:
            self._silent[address] -= 1
            if not self._silent[address]:
                del self._silent[address]
