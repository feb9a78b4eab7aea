"""Warm workers, handed to one attempt at a time. Rule: a place is free only when its worker is idle and sound, or gone.

One worker at most stands at each place that the owner grants. What an attempt leaves behind (a picture half made, a
worker that lied) is cleared away before the place is given to the next, and a worker that had to die is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path

from gpufair.protocol import limits
from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.frames import Run
from gpufair.protocol.ports import Random
from gpufair.provider.workers.outcome import Event, Failure, WorkerFailedError
from gpufair.provider.workers.runtime import Runtime, WorkerSpec
from gpufair.provider.workers.warm import Times, WarmWorker


class Place:
    """Room for one worker."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.free = True
        self.warm: WarmWorker | None = None
        self.profile = b""
        self.timer: asyncio.TimerHandle | None = None

    def rank(self, model: bytes) -> int:
        """How soon a run of `model` could start here: higher is sooner."""
        if self.warm is None or not self.warm.fit:
            return 0
        return 1 + (model in self.warm.models) + (self.warm.models[-1:] == [model])


class Pool:
    """Starts workers when they are needed and keeps them.

    `locate` gives a model's absolute folder, which lies under the spec's models folder. `idle_ms` is how long an idle
    worker is kept; 0 means for ever.
    """

    def __init__(
        self,
        runtime: Runtime,
        specs: Sequence[WorkerSpec],
        locate: Callable[[bytes], Path],
        random: Random,
        *,
        idle_ms: int = 0,
        times: Times | None = None,
    ) -> None:
        self._runtime, self._locate, self._random = runtime, locate, random
        self._places = [Place(spec) for spec in specs]
        self._idle_ms, self._times = idle_ms, times or Times()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._chores: set[asyncio.Task[None]] = set()
        self._starts: set[asyncio.Future[None]] = set()
        self._closing = False
        self.last_error = ""
        """What went wrong last with a worker that nobody waited for; safe to print."""

    @property
    def size(self) -> int:
        """Workers that may run at once."""
        return len(self._places)

    @property
    def free(self) -> int:
        """Places that could take an attempt now."""
        return sum(place.free for place in self._places)

    @property
    def busy(self) -> int:
        """Places that are taken, or being cleared."""
        return self.size - self.free

    @property
    def profiles(self) -> frozenset[bytes]:
        """Runtime profiles that workers have stated, for offers. Empty before the first start."""
        return frozenset(place.profile for place in self._places if place.profile)

    @property
    def warm_models(self) -> frozenset[bytes]:
        """Models in some worker's memory."""
        running = [place.warm for place in self._places if place.warm is not None and place.warm.worker.alive]
        return frozenset(model for warm in running for model in warm.models)

    async def reap(self) -> int:
        """End the workers that an earlier run left. To be called before the first attempt; returns how many."""
        left = await self._runtime.leftovers()
        for leftover in left:
            await self._runtime.reap(leftover)
        return len(left)

    async def warm(self, model: bytes) -> int:
        """Start a worker and load `model` ahead of need, where that is soonest done; the milliseconds of the load."""
        place = await self._take(model)
        try:
            return await (await self._ready(place)).load(model, self._locate(model))
        finally:
            self._give_back(place)

    async def run(self, run: Run, cancel: asyncio.Event | None = None) -> AsyncGenerator[Event, None]:
        """One attempt: its events, pictures among them. `WorkerFailedError` when it fails, `LocalError` without engine.

        Whoever stops asking stops the worker, within one window of frames. Leaving early cancels the attempt.
        """
        place = await self._take(run.model, cancel)
        try:
            worker = await self._ready(place)
            await worker.load(run.model, self._locate(run.model))
            if cancel is not None and cancel.is_set():
                raise _cancelled()
            async with contextlib.aclosing(worker.run(run, cancel)) as events:
                async for event in events:
                    yield event
        except WorkerFailedError as err:
            if self._closing:
                raise _closed() from err
            raise
        finally:
            self._give_back(place)

    async def close(self) -> None:
        """End every worker and leave none. Attempts under way fail."""
        self._closing = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        for place in self._places:
            self._quiet(place)
            if place.warm is not None:
                with contextlib.suppress(LocalError, PeerError):
                    await place.warm.kill()
        while pending := {*self._chores, *self._starts}:
            await asyncio.wait(pending)

    async def _take(self, model: bytes, cancel: asyncio.Event | None = None) -> Place:
        """The free place that suits best, waiting for one in turn."""
        while True:
            if self._closing:
                raise _closed()
            if cancel is not None and cancel.is_set():
                raise _cancelled()
            free = [place for place in self._places if place.free]
            if free:
                place = max(free, key=lambda candidate: candidate.rank(model))
                place.free = False
                self._quiet(place)
                return place
            await self._turn(cancel)

    async def _turn(self, cancel: asyncio.Event | None) -> None:
        """Wait until a place may have become free, or the caller cancels."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        watcher = asyncio.create_task(cancel.wait()) if cancel is not None else None
        try:
            await asyncio.wait({waiter, watcher} if watcher else {waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if watcher is not None:
                watcher.cancel()
            if waiter.done():
                # Whether this turn is used or not, the next in line looks too: a free place is never forgotten.
                asyncio.get_running_loop().call_soon(self._wake)
            else:
                self._waiting.remove(waiter)

    def _wake(self) -> None:
        while self._waiting and self.free:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _ready(self, place: Place) -> WarmWorker:
        """The place's worker, started anew if there is none that is sound."""
        if place.warm is not None and place.warm.fit:
            return place.warm
        await self._clear(place)
        started = asyncio.get_running_loop().create_future()
        self._starts.add(started)
        try:
            worker = await self._runtime.start(place.spec, self._random.bytes(8).hex())
            place.warm = warm = WarmWorker(worker, place.spec, self._times)
            if self._closing:
                await warm.kill()
                raise _closed()
        finally:
            # `close` waits for this: no worker may come up behind its back.
            self._starts.discard(started)
            started.set_result(None)
        await warm.greet(self._random.bytes(16))
        place.profile = warm.profile.digest() if warm.profile else b""
        return warm

    def _give_back(self, place: Place) -> None:
        warm = place.warm
        if warm is not None and not warm.fit and not self._closing:
            self._chore(self._mend(place))
            return
        place.free = True
        if warm is not None and self._idle_ms:
            delay = self._idle_ms / limits.SECOND
            place.timer = asyncio.get_running_loop().call_later(delay, self._expire, place)
        self._wake()

    async def _mend(self, place: Place) -> None:
        """Make a place usable again: hear an abandoned attempt out, or replace the worker. Nobody waits for this."""
        try:
            if place.warm is not None and place.warm.worker.alive:
                await place.warm.settle()
            if place.warm is None or not place.warm.fit:
                await self._clear(place)
                if not self._closing:
                    await self._ready(place)
        except (WorkerFailedError, LocalError, PeerError) as err:
            # The next attempt at this place tries again, and its caller hears why.
            self.last_error = str(err)
            with contextlib.suppress(LocalError):
                await self._clear(place)
        finally:
            if self._closing:
                with contextlib.suppress(LocalError):
                    await self._clear(place)
            place.free = True
            self._wake()

    async def _clear(self, place: Place) -> None:
        if place.warm is not None:
            await place.warm.kill()
            place.warm = None

    def _expire(self, place: Place) -> None:
        if place.free and not self._closing:
            place.free = False
            self._chore(self._retire(place))

    async def _retire(self, place: Place) -> None:
        try:
            await self._clear(place)
        except LocalError as err:
            self.last_error = str(err)
        finally:
            place.free = True
            self._wake()

    def _quiet(self, place: Place) -> None:
        if place.timer is not None:
            place.timer.cancel()
            place.timer = None

    def _chore(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def _closed() -> WorkerFailedError:
    return WorkerFailedError(Failure.CLOSED, "the node takes no more work")


def _cancelled() -> WorkerFailedError:
    return WorkerFailedError(Failure.CANCELLED, "cancelled before it began")
