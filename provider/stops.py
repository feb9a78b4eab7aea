"""The owner's stops: pause, reclaim, drain. Rule: nothing new is let in first; what is under way ends as was agreed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider.selling import Seller

LOOK_S = 0.2


class Stops:
    """The owner's hand on what is sold. `publish` tells the market, `end` stops the node."""

    def __init__(self, seller: Seller | None, publish: Callable[[], Awaitable[None]], end: Callable[[], None]) -> None:
        self._seller, self._publish, self._end = seller, publish, end
        self._task: asyncio.Task[None] | None = None
        """What follows from the last command, in time."""

    async def pause(self) -> dict[str, Any]:
        """Take no new leases or jobs; what is under way goes on."""
        self._of("pause").gate.paused = True
        await self._publish()
        return {"paused": True}

    async def resume(self) -> dict[str, Any]:
        """Sell again, after a pause or a reclaim; who has not been stopped by now is not."""
        seller = self._of("resume")
        seller.gate.paused = seller.gate.reclaimed = False
        seller.jobs.clearing.keep()
        if not seller.gate.draining:
            await self._drop_task()
        await self._publish()
        return {"paused": False}

    async def reclaim(self, notice_ms: int = 0) -> dict[str, Any]:
        """Give the machine back: each job has its lease's notice, or this one if it is longer; then the workers go."""
        seller = self._of("reclaim")
        if notice_ms > limits.NOTICE_MAX_MS:
            most = limits.NOTICE_MAX_MS // limits.SECOND
            raise LocalError(Fault.TOO_LARGE, f"a notice is at most {most} s", hint="`gpufaird drain` gives more time")
        seller.gate.reclaimed = True
        within_ms = seller.jobs.clearing.reclaim(notice_ms)
        if not seller.gate.draining:
            await self._drop_task()
            self._task = asyncio.create_task(_vacate(seller))
        await self._publish()
        return {"reclaimed": True, "within_ms": within_ms}

    async def drain(self, within_ms: int | None = None) -> dict[str, Any]:
        """Take nothing new and stop the node when all is settled, or after so long: what is not done by then ends."""
        seller = self._of("drain")
        seller.gate.draining = True
        await self._publish()
        await self._drop_task()
        self._task = asyncio.create_task(self._stop_when_drained(seller, within_ms))
        return {"draining": True}

    async def close(self) -> None:
        """Nothing more follows."""
        await self._drop_task()

    async def _stop_when_drained(self, seller: Seller, within_ms: int | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(seller.drained(), None if within_ms is None else within_ms / limits.SECOND)
        self._end()

    async def _drop_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _of(self, wish: str) -> Seller:
        if self._seller is None:
            raise LocalError(Fault.NOT_ALLOWED, f"this node is no provider: there is nothing to {wish}")
        return self._seller


async def _vacate(seller: Seller) -> None:
    """Once nothing is under way, let go of the machine."""
    while seller.jobs.busy() or seller.pool.busy:
        await asyncio.sleep(LOOK_S)
    await seller.pool.vacate()
