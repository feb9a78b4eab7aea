"""Making the node known. Rule: the own directory hears first; a silent peer is tried again, never fatal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.errors import FairError
from gpufair.protocol.messages import Envelope
from gpufair.provider.rpc.offices import DirectoryOffice

log = logging.getLogger(__name__)

PERIOD_S = 1.0
AGAIN_S = 60.0


@dataclass
class PeerState:
    """What became of the last try to tell a peer."""

    address: str
    told: bytes = b""
    """The last documents that it took, joined."""
    error: str = ""
    not_before_s: float = 0.0


class Publisher:
    """Tells the own directory and the configured peers about this node's record and offer, whenever they change."""

    def __init__(
        self,
        documents: Callable[[], Sequence[Envelope]],
        directory: DirectoryOffice,
        peers: Peers,
        addresses: tuple[str, ...],
    ) -> None:
        self._documents, self._directory, self._peers = documents, directory, peers
        self.states = [PeerState(address) for address in addresses]
        self._published: tuple[Envelope, ...] = ()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.round()
            except Exception:  # a full disk, or a bug: unless it goes on, the node falls out of the market
                log.exception("the record or the offer could not be published")
            await asyncio.sleep(PERIOD_S)

    async def round(self) -> None:
        """Publish what is new."""
        documents = tuple(self._documents())
        for document in documents:
            if document not in self._published:
                await self._directory.publish(document)
        self._published = documents
        for state in self.states:
            await self._tell(state, documents)

    async def _tell(self, state: PeerState, documents: tuple[Envelope, ...]) -> None:
        content, now = b"".join(d.payload for d in documents), asyncio.get_running_loop().time()
        if content == state.told or now < state.not_before_s:
            return
        try:
            peer = await self._peers.meet(state.address)
            for document in documents:
                await peer.directory.publish(document)
        except FairError as error:
            state.error, state.not_before_s = str(error), now + AGAIN_S
            log.warning("peer %s: %s", state.address, error)
        else:
            state.told, state.error = content, ""
