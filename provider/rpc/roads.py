"""The way to another directory. Rule: we go where our owner sends us; where others do, after a look at the address.

A connection shows who is there by its pinned certificate, and how far away what is said over it was heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpufair.protocol import identity
from gpufair.protocol.addresses import PeerAddress, Reach
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.edge.reaching import LookUp, allowed, look_up, reach_of
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.errors import FairError, Fault, LocalError
from gpufair.provider.directory.company import Trouble
from gpufair.provider.directory.office import DirectoryDesk

_CLOCKS = (Fault.EXPIRED, Fault.FROM_THE_FUTURE)


@dataclass(frozen=True, slots=True)
class Road:
    """A connection to another directory, and how far away it is."""

    peer: Peer
    heard: Reach


class Roads:
    """Finds them. `named` is where our owner says that somebody is; `find` looks names up."""

    def __init__(
        self, peers: Peers, desk: DirectoryDesk, named: Mapping[str, PeerAddress], find: LookUp = look_up
    ) -> None:
        self._peers, self._desk, self._named, self._find = peers, desk, named, find

    async def to(self, did: str) -> Road:
        """A connection to a directory. Raises PeerUnreachable, PeerError."""
        address = self._named.get(did)
        peer = await self._learned(did) if address is None else await self._peers.meet(address)
        return Road(peer, await reach_of(peer.endpoint, self._find))

    async def _learned(self, did: str) -> Peer:
        card = await self._desk.card(did)
        if card is None:
            raise PeerUnreachable(f"the record of {identity.short(did)} has expired: nobody knows where it is")
        record, heard = card
        return await self._peers.at(record, through=await allowed(record.doc.endpoints, heard, self._find))


def trouble_of(error: FairError) -> Trouble:
    """What a failed call means for the peer that was called."""
    if isinstance(error, PeerUnreachable | LocalError):
        return Trouble.UNREACHABLE
    if isinstance(error, RemoteRefusal):
        return Trouble.REFUSED
    if error.fault in _CLOCKS:
        return Trouble.CLOCK
    return Trouble.ASTRAY if error.fault is Fault.NOT_ALLOWED else Trouble.DISPROVED
