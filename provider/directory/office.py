"""The directory as the gRPC edge wants it. Rule: the one thread that works in the directory is this office's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gpufair.protocol.messages import Envelope
from gpufair.provider.directory.directory import Directory

R = TypeVar("R")


class DirectoryDesk:
    """Serves a `Directory` to the event loop; `record` gives this node's own record, renewed in time by its owner."""

    def __init__(self, directory: Directory, record: Callable[[], Envelope]) -> None:
        self._directory = directory
        self._record = record
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="directory")

    async def record(self) -> Envelope:
        """The node's own record."""
        return self._record()

    async def publish(self, document: Envelope) -> tuple[int, bool]:
        """See `Directory.publish`."""
        return await self._on_thread(lambda: self._directory.publish(document))

    async def find_records(self, dids: tuple[str, ...], after: str) -> tuple[list[Envelope], str]:
        """See `Directory.find_records`."""
        return await self._on_thread(lambda: self._directory.find_records(dids, after))

    async def find_offers(self, dids: tuple[str, ...], after: str) -> tuple[list[Envelope], str]:
        """See `Directory.find_offers`."""
        return await self._on_thread(lambda: self._directory.find_offers(dids, after))

    def close(self) -> None:
        """Finish what is being done, then let go of the store."""
        self._thread.shutdown(wait=True)
        self._directory.close()

    async def _on_thread(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
