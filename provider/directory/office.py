"""The directory as the gRPC edge wants it. Rule: the one thread that works in the directory is this office's.

What is to be asked of other directories comes out of `asks`; whoever asks brings back what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gpufair.protocol.addresses import Reach
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import (
    Bodies,
    Compare,
    Compared,
    Envelope,
    NodeRecord,
    Pull,
    SearchAnswer,
    SearchRequest,
    Tell,
    Told,
)
from gpufair.provider.directory import documents
from gpufair.provider.directory.asks import Ask, Reply
from gpufair.provider.directory.company import Company, Trouble
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import Kind, Origin, place_of
from gpufair.provider.directory.gossip import Gossip
from gpufair.provider.directory.searching import Searching
from gpufair.provider.directory.standing import Known, standing

R = TypeVar("R")


class DirectoryDesk:
    """Serves a `Directory` to the event loop; `record` gives this node's own record, renewed in time by its owner.

    Without `gossip` it keeps to itself.
    """

    def __init__(self, directory: Directory, record: Callable[[], Envelope], gossip: Gossip | None = None) -> None:
        self._directory = directory
        self._record = record
        self._gossip = gossip
        self._searching = Searching(directory)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="directory")
        self.asks: asyncio.Queue[Ask] = asyncio.Queue()
        """To be asked of others. The core bounds them: of each, one question for documents, so many to compare."""
        self.news = asyncio.Event()
        """There is something to tell others."""

    async def record(self) -> Envelope:
        """The node's own record."""
        return self._record()

    async def publish(
        self, document: Envelope, source: str = documents.OWN.source, heard: Reach = documents.OWN.heard
    ) -> tuple[int, bool]:
        """See `Directory.publish`."""
        return await self._on_thread(lambda: self._directory.publish(document, Origin(source, heard)))

    async def find_records(self, dids: tuple[str, ...], after: str) -> tuple[list[Envelope], str]:
        """See `Directory.find_records`."""
        return await self._on_thread(lambda: self._directory.find_records(dids, after))

    async def find_offers(self, dids: tuple[str, ...], after: str) -> tuple[list[Envelope], str]:
        """See `Directory.find_offers`."""
        return await self._on_thread(lambda: self._directory.find_offers(dids, after))

    async def search(self, asked: SearchRequest) -> SearchAnswer:
        """See `Searching.search`."""
        return await self._on_thread(lambda: self._searching.search(asked))

    async def find_evidence(self, dids: tuple[str, ...], after: str) -> tuple[list[Envelope], str]:
        """See `Directory.find_evidence`."""
        return await self._on_thread(lambda: self._directory.find_evidence(dids, after))

    async def card(self, did: str) -> tuple[Signed[NodeRecord], Reach] | None:
        """The record of a node, and how far away it was heard of; None if it is not known."""
        return await self._on_thread(lambda: self._card(did))

    # --- what others ask ---------------------------------------------------------------------------------------------

    async def differ(self, asked: Compare) -> Compared:
        """See `Gossip.differ`."""
        gossip = self._company()
        return await self._on_thread(lambda: gossip.differ(asked))

    async def hear(self, told: Tell) -> Told:
        """See `Gossip.hear`."""
        gossip = self._company()
        answer, asks = await self._on_thread(lambda: gossip.hear(told))
        self._send(asks)
        return answer

    async def give(self, asked: Pull) -> Bodies:
        """See `Gossip.give`."""
        gossip = self._company()
        return await self._on_thread(lambda: gossip.give(asked))

    # --- what is asked of others -------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """See `Gossip.begin`."""
        gossip = self._company()
        self._send(await self._on_thread(gossip.begin))

    async def spread(self) -> None:
        """See `Gossip.spread`."""
        gossip = self._company()
        self._send(await self._on_thread(gossip.spread))

    async def greet(self, did: str, *, instead_of: str = "") -> None:
        """See `Gossip.greet`; `instead_of` is who was at our owner's address before."""
        if self._gossip is not None:
            gossip = self._gossip
            self._send(await self._on_thread(lambda: gossip.greet(did, instead_of=instead_of)))

    async def is_due(self, ask: Ask) -> bool:
        """See `Gossip.is_due`."""
        gossip = self._company()
        return await self._on_thread(lambda: gossip.is_due(ask))

    async def answered(self, ask: Ask, reply: Reply, heard: Reach) -> None:
        """See `Gossip.answered`."""
        gossip = self._company()
        self._send(await self._on_thread(lambda: gossip.answered(ask, reply, heard)))

    async def failed(self, ask: Ask, why: str, trouble: Trouble) -> None:
        """See `Gossip.failed`."""
        gossip = self._company()
        self._send(await self._on_thread(lambda: gossip.failed(ask, why, trouble)))

    async def standing(self) -> Known:
        """See `standing.standing`."""
        company = self._gossip.company if self._gossip is not None else Company("", lambda _below: 0)
        return await self._on_thread(lambda: standing(self._directory, company))

    # --- inside ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Finish what is being done, then let go of the store."""
        self._thread.shutdown(wait=True)
        self._directory.close()

    def _company(self) -> Gossip:
        if self._gossip is None:
            raise PeerError(Fault.NOT_ALLOWED, "this node exchanges no documents with others", hint="see its roles")
        return self._gossip

    def _card(self, did: str) -> tuple[Signed[NodeRecord], Reach] | None:
        place = place_of(Kind.RECORD, did.encode())
        held, found = self._directory.held(place), self._directory.bodies([place])
        return (documents.record(found[0]), held.heard) if held is not None and found else None

    def _send(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            self.asks.put_nowait(ask)

    async def _on_thread(self, work: Callable[[], R]) -> R:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            if self._gossip is not None and self._gossip.has_news:
                self.news.set()
