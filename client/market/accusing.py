"""Telling others of a cheat. Rule: it costs the buyer seconds at most, and what nobody heard is told again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from gpufair.client.wallet import accusations
from gpufair.protocol.addresses import PeerAddress
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import FairError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Evidence

_TELL_S = 5.0


async def accuse(desk: Desk, store: RowStore, peers: Peers, addresses: Sequence[PeerAddress]) -> int:
    """Bring what this wallet can prove, and did not bring lately, to the directories at `addresses`.

    How many pieces at least one of them took.
    """
    with store.read() as rows:
        pieces = accusations.due(rows, desk)
    if not pieces:
        return 0
    heard = await asyncio.gather(*(_bring(peers, address, pieces) for address in addresses))
    told = [piece for piece in pieces if any(piece.id in ids for ids in heard)]
    with store.begin() as rows:
        for piece in told:
            accusations.brought(rows, piece, desk.now_ms())
    return len(told)


async def _bring(peers: Peers, address: PeerAddress, pieces: Sequence[Signed[Evidence]]) -> set[bytes]:
    """The ids of those that a directory took, or has already."""
    heard = set[bytes]()
    with suppress(FairError, TimeoutError):  # another directory may hear it, or this one the next time
        async with asyncio.timeout(_TELL_S):
            peer = await peers.meet(address)
            for piece in pieces:
                await peer.directory.publish(piece.envelope)
                heard.add(piece.id)
    return heard
