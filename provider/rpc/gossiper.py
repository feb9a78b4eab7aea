"""Carries a directory's questions to others. Rule: one question at a time to each peer, and every one is answered for.

When to ask, and whom, is the core's business (`directory.gossip`): here is the network, and the clock that ticks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from gpufair.protocol import gossip_limits
from gpufair.protocol.edge.peers import DirectoryPeer
from gpufair.protocol.edge.refusals import RemoteRefusal
from gpufair.protocol.errors import FairError, Fault
from gpufair.protocol.messages import Compare, Tell
from gpufair.protocol.ports import Random
from gpufair.provider.directory.asks import Ask, Reply
from gpufair.provider.directory.company import Trouble
from gpufair.provider.directory.office import DirectoryDesk
from gpufair.provider.rpc.roads import Roads, trouble_of

log = logging.getLogger(__name__)

_TRIES, _SLOWLY_S = 5, 1.0
"""How often a peer that is asked too fast is asked again, and how long it is left alone before that."""
_STUMBLE_S = 1.0
"""How long a loop that failed rests: a full disk is not mended by trying at once."""


class Gossiper:
    """One directory's conversation with all others."""

    def __init__(self, desk: DirectoryDesk, roads: Roads, random: Random) -> None:
        self._desk, self._roads, self._random = desk, roads, random
        self._slots = asyncio.Semaphore(gossip_limits.GOSSIP_ASKED_AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await asyncio.gather(self._go_on(self._round), self._go_on(self._tell_news), self._go_on(self._ask_next))
        finally:
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    async def _go_on(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:  # a full disk, or a bug: unless it goes on, the node falls out of the market
                log.exception("the exchange of documents stumbled")
                await asyncio.sleep(_STUMBLE_S)

    async def _round(self) -> None:
        await self._desk.begin()
        # Between 3/4 and 5/4 of the period, so that a crowd that started together doesn't stay together.
        share = int.from_bytes(self._random.bytes(4), "big") / 2**32
        await asyncio.sleep(gossip_limits.GOSSIP_PERIOD_MS / 1000 * (0.75 + share / 2))

    async def _tell_news(self) -> None:
        await self._desk.news.wait()
        self._desk.news.clear()
        await asyncio.sleep(gossip_limits.GOSSIP_NEWS_MS / 1000)
        await self._desk.spread()

    async def _ask_next(self) -> None:
        task = asyncio.create_task(self._ask(await self._desk.asks.get()))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, ask: Ask) -> None:
        """Ask when it is its peer's turn, unless that failed meanwhile, and bring back what came of it."""
        async with self._turns.setdefault(ask.did, asyncio.Lock()):
            for _ in range(_TRIES):
                async with self._slots:
                    if not await self._desk.is_due(ask) or await self._is_through(ask):
                        return
                await asyncio.sleep(_SLOWLY_S)
            await self._desk.failed(ask, "it has no time for us", Trouble.REFUSED)

    async def _is_through(self, ask: Ask) -> bool:
        """Ask; False if the peer only wants to be asked more slowly."""
        try:
            road = await self._roads.to(ask.did)
            await self._desk.answered(ask, await _call(road.peer.directory, ask), road.heard)
        except FairError as error:
            if isinstance(error, RemoteRefusal) and error.fault is Fault.LIMIT:
                return False
            log.debug("%s: %s", ask.did, error)
            await self._desk.failed(ask, error.what, trouble_of(error))
        except Exception:  # our own trouble; but the peer must not wait for this question's end for ever
            log.exception("what %s answered could not be taken", ask.did)
            await self._desk.failed(ask, "this node failed at its answer: see its log", Trouble.UNREACHABLE)
        return True


async def _call(peer: DirectoryPeer, ask: Ask) -> Reply:
    if isinstance(ask.request, Compare):
        return await peer.differ(ask.request)
    if isinstance(ask.request, Tell):
        return await peer.hear(ask.request)
    return await peer.give(ask.request)
