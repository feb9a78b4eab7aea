"""Calls that cost much, one at a time of each address. Rule: whoever asks for much waits for itself.

They work on the one thread of the house: were a crowd of them begun at once, whatever comes next would wait for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Queues:
    """A queue for each address that has calls waiting."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for this call's turn among those of its address; the next one's comes when the block ends."""
        lock = self._locks.get(address)
        if lock is None:
            lock = self._locks[address] = asyncio.Lock()
        async with lock:
            yield
