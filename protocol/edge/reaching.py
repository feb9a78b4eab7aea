"""Where a learned node may be dialled. Rule: a name is looked up once, and what was judged is what is dialled.

Whoever writes a record chooses its addresses, and whoever owns a name where it leads: without this a stranger could
have us knock at our own machine's doors (`addresses.check_reach`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from gpufair.protocol import limits
from gpufair.protocol.addresses import Endpoint, Reach, check_reach, heard_at
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.errors import PeerError

LookUp = Callable[[str], Awaitable[Sequence[str]]]
"""A name's IP addresses. Raises OSError."""


async def look_up(name: str) -> Sequence[str]:
    """Ask the machine's resolver. Raises OSError."""
    async with asyncio.timeout(limits.CONNECT_TIMEOUT_MS / 1000):  # TimeoutError is an OSError
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


async def allowed(texts: Sequence[str], heard: Reach, find: LookUp = look_up) -> list[Endpoint]:
    """Of a learned node's endpoints those that may be dialled, as IP addresses.

    Raises PeerError if there are some and none may be, PeerUnreachable if there are none, or none is known by its name.
    """
    good: list[Endpoint] = []
    failure: PeerError | PeerUnreachable = PeerUnreachable(
        "it gives no address: it calls others, and none call it", hint="ask a node that it publishes to"
    )
    for text in texts:
        endpoint = Endpoint.parse(text)
        try:
            for address in await _addresses(endpoint, find):
                check_reach(address, heard, name="" if endpoint.is_ip else endpoint.host)
                good.append(Endpoint(address, endpoint.port))
        except (PeerError, PeerUnreachable) as error:
            failure = error
    if not good:
        raise failure
    return good


async def reach_of(endpoint: Endpoint, find: LookUp = look_up) -> Reach:
    """How far away a node is that a person named: the farthest that its name leads to, but never this machine itself.

    What is heard from there may lie as near as that, so a name is not believed to be here: only an address shows it.
    """
    if endpoint.is_ip:
        return heard_at(endpoint.host)
    try:
        found = [heard_at(address) for address in await _addresses(endpoint, find)]
    except PeerUnreachable:
        return Reach.GLOBAL
    least = Reach.LOOPBACK if endpoint.host == "localhost" else Reach.PRIVATE
    return max(least, *found)


async def _addresses(endpoint: Endpoint, find: LookUp) -> Sequence[str]:
    if endpoint.is_ip:
        return (endpoint.host,)
    try:
        return [address.partition("%")[0] for address in await find(endpoint.host)]
    except OSError as error:
        raise PeerUnreachable(f"{endpoint} cannot be reached: its name can't be looked up") from error
