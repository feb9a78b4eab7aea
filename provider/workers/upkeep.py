"""Workers at their places: started, given back, replaced, let go. Rule: nobody is let in at a worker that is not sound.

A worker that had to die is replaced at once, so that the next attempt finds one; what fails there is told to whoever
comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence

from gpufair.protocol import limits
from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.ports import Random
from gpufair.provider.workers.outcome import Failure, WorkerFailedError
from gpufair.provider.workers.places import Place
from gpufair.provider.workers.runtime import Runtime, WorkerSpec
from gpufair.provider.workers.times import Times
from gpufair.provider.workers.warm import WarmWorker


class Upkeep:
    """The places of a pool. `changed` is called whenever a guest may find room that did not before."""

    def __init__(
        self,
        runtime: Runtime,
        specs: Sequence[WorkerSpec],
        random: Random,
        idle_ms: int,
        times: Times,
        changed: Callable[[], None],
    ) -> None:
        self._runtime, self._random, self._changed = runtime, random, changed
        self._idle_ms, self._times = idle_ms, times
        self.places = [Place(spec) for spec in specs]
        self.closing = False
        self.last_error = ""
        self._chores: set[asyncio.Task[None]] = set()
        self._starts: set[asyncio.Future[None]] = set()

    async def close(self) -> None:
        """End every worker and leave none."""
        self.closing = True
        self._changed()
        for place in self.places:
            if place.timer is not None:
                place.timer.cancel()
            if place.warm is not None:
                with contextlib.suppress(LocalError, PeerError):
                    await place.warm.kill()
        while pending := {*self._chores, *self._starts}:
            await asyncio.wait(pending)

    async def vacate(self) -> None:
        """End the workers that nobody is at: their places take guests again, at workers that are started anew."""
        for place in self.places:
            if place.free and place.warm is not None and not self.closing:
                place.closed = True
                await self._retire(place)

    async def ready(self, place: Place) -> WarmWorker:
        """The place's worker, started anew if there is none that is sound."""
        async with place.starting:
            if place.warm is not None and place.warm.fit:
                return place.warm
            await self._clear(place)
            started = asyncio.get_running_loop().create_future()
            self._starts.add(started)
            try:
                worker = await self._runtime.start(place.spec, self._random.bytes(8).hex())
                place.warm = warm = WarmWorker(worker, place.spec, self._times)
                if self.closing:
                    await warm.kill()
                    raise closed()
            finally:
                # `close` waits for this: no worker may come up behind its back.
                self._starts.discard(started)
                started.set_result(None)
            await warm.greet(self._random.bytes(16))
            place.profile = warm.profile.digest() if warm.profile else b""
            return warm

    def give_back(self, place: Place) -> None:
        """A guest has left."""
        place.guests -= 1
        if not place.guests:
            if place.warm is not None and not place.warm.fit and not self.closing:
                place.closed = True
                self.chore(self._mend(place))
            elif place.warm is not None and self._idle_ms:
                delay = self._idle_ms / limits.SECOND
                place.timer = asyncio.get_running_loop().call_later(delay, self._expire, place)
        self._changed()

    async def _mend(self, place: Place) -> None:
        """Replace a place's worker. Nobody waits for this."""
        try:
            await self._clear(place)
            if not self.closing:
                await self.ready(place)
        except (WorkerFailedError, LocalError, PeerError) as err:
            # The next attempt at this place tries again, and its caller hears why.
            self.last_error = str(err)
        finally:
            await self._reopen(place)

    def _expire(self, place: Place) -> None:
        if place.free and not self.closing:
            place.closed = True
            self.chore(self._retire(place))

    async def _retire(self, place: Place) -> None:
        try:
            await self._clear(place)
        except LocalError as err:
            self.last_error = str(err)
        finally:
            await self._reopen(place)

    async def _clear(self, place: Place) -> None:
        if place.warm is not None:
            await place.warm.kill()
            place.warm = None

    async def _reopen(self, place: Place) -> None:
        """Let guests in again; no broken worker is left to them, and none at all once the pool is closing."""
        if self.closing or (place.warm is not None and not place.warm.fit):
            with contextlib.suppress(LocalError):
                await self._clear(place)
        place.closed = False
        self._changed()

    def chore(self, work: Coroutine[None, None, None]) -> None:
        """Something that `close` waits for."""
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def closed() -> WorkerFailedError:
    """The node is stopping."""
    return WorkerFailedError(Failure.CLOSED, "the node takes no more work")
