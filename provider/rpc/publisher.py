"""Making the node known. Rule: the own directory hears first; a silent peer is tried again, never fatal.

The peers that our owner named are told of our record and offer by us: a node that they don't know yet can't be asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gpufair.protocol import gossip_limits
from gpufair.protocol.addresses import PeerAddress
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.errors import FairError
from gpufair.protocol.messages import Envelope
from gpufair.protocol.ports import Random
from gpufair.provider.directory.company import Trouble
from gpufair.provider.directory.office import DirectoryDesk
from gpufair.provider.rpc.roads import trouble_of

log = logging.getLogger(__name__)

PERIOD_S = 1.0
_AGAIN_S = 60.0
"""How often a peer that has it all is shown our record again: it may have lost it, and then we are strangers to it."""
_PATIENCE_S = 2.0
"""How long a round waits for the peers; whoever takes longer is told in the background."""


@dataclass
class PeerState:
    """A peer that our owner named, and what became of the last try to tell it."""

    address: PeerAddress
    did: str = ""
    """Who answered there last."""
    told: bytes = b""
    """The last documents that it took, joined."""
    error: str = ""
    trouble: Trouble = Trouble.NONE
    told_s: float = 0.0
    """When that was."""
    failures: int = 0
    not_before_s: float = 0.0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Publisher:
    """Tells the own directory and the configured peers about this node's record and offer, whenever they change."""

    def __init__(
        self,
        documents: Callable[[], Sequence[Envelope]],
        directory: DirectoryDesk,
        peers: Peers,
        addresses: Sequence[str],
        random: Random,
    ) -> None:
        self._documents, self._directory, self._peers, self._random = documents, directory, peers, random
        self.states = [PeerState(PeerAddress.parse(address)) for address in addresses]
        self.named: dict[str, PeerAddress] = {}
        """Where those are that answered: by did."""
        self._published: tuple[Envelope, ...] = ()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                try:
                    await self.round()
                except Exception:  # a full disk, or a bug: unless it goes on, the node falls out of the market
                    log.exception("the record or the offer could not be published")
                await asyncio.sleep(PERIOD_S)
        finally:
            for task in self._under_way():
                task.cancel()

    async def round(self) -> None:
        """Publish what is new."""
        documents = tuple(self._documents())
        for document in documents:
            if document not in self._published:
                await self._directory.publish(document)
        self._published = documents
        for state in self.states:
            if state.task is None or state.task.done():
                state.task = asyncio.create_task(self._tell(state, documents))
                state.task.add_done_callback(_log_bug)
        if waiting := self._under_way():
            await asyncio.wait(waiting, timeout=_PATIENCE_S)

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [state.task for state in self.states if state.task is not None and not state.task.done()]

    async def _tell(self, state: PeerState, documents: tuple[Envelope, ...]) -> None:
        content, now = b"".join(d.payload for d in documents), asyncio.get_running_loop().time()
        is_new = content != state.told
        if now < state.not_before_s or (not is_new and now < state.told_s + _AGAIN_S):
            return
        try:
            peer = await self._peers.meet(state.address)
            await self._met(state, peer.did)
            for document in documents if is_new else documents[:1]:
                await peer.directory.publish(document)
        except FairError as error:
            state.error, state.trouble, state.failures = str(error), trouble_of(error), state.failures + 1
            state.not_before_s = now + self._wait_s(state.failures)
            log.log(logging.WARNING if state.failures == 1 else logging.DEBUG, "peer %s: %s", state.address, error)
        else:
            state.told, state.told_s = content, now
            state.error, state.trouble, state.failures = "", Trouble.NONE, 0

    async def _met(self, state: PeerState, did: str) -> None:
        """Somebody answers at an address that our owner named: it is company from now on."""
        if did == state.did:
            return
        before, state.did = state.did, did
        self.named.pop(before, None)
        self.named[did] = PeerAddress(state.address.endpoint, did)
        await self._directory.greet(did, instead_of=before)

    def _wait_s(self, failures: int) -> float:
        """Longer each time, and not the same for all who lost a peer together."""
        most = gossip_limits.GOSSIP_NAMED_PAUSE_MS
        wait_ms = min(gossip_limits.GOSSIP_BACK_OFF_MS << min(failures - 1, 16), most)
        share = int.from_bytes(self._random.bytes(4), "big") / 2**32
        return wait_ms / 1000 * (0.75 + share / 2)


def _log_bug(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a peer could not be told", exc_info=error)
