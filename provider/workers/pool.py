"""Warm workers, handed to attempts. Rule: a place is free only when its worker is idle and sound, or gone.

One worker at most stands at each place that the owner grants. What an attempt leaves behind (a picture half made, a
worker that lied) is cleared away before the place is given to the next, and a worker that had to die is replaced: what
was under way at it goes on at another, from its last state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.frames import ADAPTER, Measure, Replay, Run, RuntimeProfile
from gpufair.protocol.ports import Random
from gpufair.provider.workers.outcome import Answer, Event, Failure, WorkerFailedError
from gpufair.provider.workers.places import Place, Wish, best, is_held
from gpufair.provider.workers.resume import Going
from gpufair.provider.workers.runtime import Runtime, WorkerSpec
from gpufair.provider.workers.times import Times
from gpufair.provider.workers.upkeep import Upkeep, closed
from gpufair.provider.workers.warm import WarmWorker


class Pool:
    """Starts workers when they are needed and keeps them.

    `locate` gives the absolute folder of a model or adapter, which lies under the spec's models folder. `idle_ms` is
    how long an idle worker is kept; 0 means for ever.
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
        self._runtime, self._locate = runtime, locate
        self._upkeep = Upkeep(runtime, specs, random, idle_ms, times or Times(), self._wake)
        self._places = self._upkeep.places
        self._line: deque[object] = deque()
        """Who waits for a place, in turn."""
        self._loading: set[bytes] = set()
        """Holders for whom a model is being loaded."""
        self._changed = asyncio.Event()

    @property
    def last_error(self) -> str:
        """What went wrong last with a worker that nobody waited for; safe to print."""
        return self._upkeep.last_error

    @property
    def size(self) -> int:
        """Workers that may run at once."""
        return len(self._places)

    @property
    def free(self) -> int:
        """Places that could take whoever comes."""
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
    def runtimes(self) -> frozenset[RuntimeProfile]:
        """What the workers that were started run on."""
        profiles = [place.warm.profile for place in self._places if place.warm is not None]
        return frozenset(profile for profile in profiles if profile is not None)

    @property
    def warm_models(self) -> frozenset[bytes]:
        """Models in some worker's memory."""
        running = [place.warm for place in self._places if place.warm is not None and place.warm.worker.alive]
        return frozenset(model for warm in running for model in warm.models)

    # --- asking --------------------------------------------------------------------------------------------------

    async def reap(self) -> int:
        """End the workers that an earlier run left. To be called before the first attempt; returns how many."""
        left = await self._runtime.leftovers()
        for leftover in left:
            await self._runtime.reap(leftover)
        return len(left)

    async def warm(self, model: bytes) -> int:
        """Start a worker and load `model` ahead of need, where that is soonest done; the milliseconds of the load."""
        async with self._worker(Wish(model)) as warm:
            return await warm.load(model, self._locate(model))

    def prefetch(self, model: bytes) -> None:
        """Load a model ahead of need, if a place is idle and no idle one holds it. Nobody waits for it."""
        idle = [place for place in self._places if place.free]
        if self._line or not idle or any(place.holds(model) for place in idle):
            return
        self._upkeep.chore(self._prefetch(Wish(model)))

    def hold(self, holder: bytes, model: bytes) -> None:
        """Keep a place for whoever runs as `holder`, with a model loaded, until `release`.

        Nobody else is let in there from now on. Said again, it mends what is not so: a place that others have not left
        yet is changed for an empty one, and a worker that was lost is replaced.
        """
        held = next((place for place in self._places if place.holder == holder), None)
        if held is None or held.has_strangers:
            others = [place for place in self._places if not place.holder]
            better = max(others, key=lambda place: (place.empty, *place.rank(Wish(model))), default=None)
            if better is not None and (held is None or better.empty):
                self.release(holder)
                better.holder, held = holder, better
        if held is not None and held.empty and not held.holds(model) and holder not in self._loading:
            self._loading.add(holder)
            self._upkeep.chore(self._prefetch(Wish(model, holder=holder)))

    def release(self, holder: bytes) -> None:
        """Let others in again where a place was held."""
        for place in self._places:
            if place.holder == holder:
                place.holder = b""
        self._wake()

    async def run(
        self,
        run: Run,
        cancel: asyncio.Event | None = None,
        *,
        inputs: Sequence[bytes] = (),
        holder: bytes = b"",
        profile: bytes = b"",
    ) -> AsyncGenerator[Event, None]:
        """One attempt: its events, pictures among them. `WorkerFailedError` when it fails, `LocalError` without engine.

        `inputs` are the bytes of the run's inputs, in their order; `holder` is for whom it is (see `hold`); `profile`,
        if given, the runtime profile that its worker must have. A run with a trace survives its worker; if it ends
        before its picture is done, at its last step or because it was cancelled, its last event is how far it came.
        Whoever stops asking stops the worker, within one window of frames, or loses the attempt if others wait for the
        same worker. Leaving early cancels the attempt.
        """
        going = Going(run, inputs, profile)
        while True:
            try:
                async with contextlib.aclosing(self._try(going, holder, cancel)) as events:
                    async for event in events:
                        if going.take(event) is not None:
                            yield event
            except WorkerFailedError as err:
                if self._upkeep.closing:
                    raise closed() from err
                if err.again and going.is_made:
                    return
                if cancel is not None and cancel.is_set():
                    if err.code is not Failure.LIED and going.reached is not None:
                        yield going.reached
                    raise
                if not going.again(err):
                    raise
                self._upkeep.last_error = str(err)
            else:
                if going.reached is not None:
                    yield going.reached
                return

    async def ask(self, question: Replay | Measure, inputs: Sequence[bytes] = ()) -> Answer:
        """A worker's answer to a question, which it has for itself meanwhile. Fails as `run` does."""
        run = question.run
        try:
            async with self._worker(Wish(run.model), run.attempt) as warm:
                await self._load(warm, run)
                return await warm.ask(question, inputs)
        except WorkerFailedError as err:
            if self._upkeep.closing:
                raise closed() from err
            raise

    async def vacate(self) -> None:
        """End the workers that have nothing to do, so that the machine's memory is its owner's again."""
        await self._upkeep.vacate()

    async def close(self) -> None:
        """End every worker and leave none. Attempts under way fail."""
        await self._upkeep.close()

    # --- one worker for one attempt --------------------------------------------------------------------------------

    async def _try(self, going: Going, holder: bytes, cancel: asyncio.Event | None) -> AsyncGenerator[Event, None]:
        """An attempt at one worker, as far as it gets. One that lost its worker is alone at the next: it may be why."""
        run, wish = going.run, replace(Wish.of(going.run, holder), profile=going.profile)
        if going.tries:
            wish = Wish(wish.model, profile=going.profile, holder=holder)
        async with self._worker(wish, run.attempt, cancel) as warm:
            if going.profile not in (b"", warm.ran_on.digest()):
                raise _no_such_worker()
            going.runtime = warm.ran_on
            await self._load(warm, run)
            if cancel is not None and cancel.is_set():
                raise _cancelled()
            async with contextlib.aclosing(warm.run(run, going.inputs, going.before, cancel)) as events:
                async for event in events:
                    yield event

    async def _load(self, warm: WarmWorker, run: Run) -> None:
        """Have all in memory that a run needs."""
        await warm.load(run.model, self._locate(run.model))
        for adapter in run.adapters:
            await warm.load(adapter.digest, self._locate(adapter.digest), ADAPTER)

    @contextlib.asynccontextmanager
    async def _worker(
        self, wish: Wish, attempt: bytes = b"", cancel: asyncio.Event | None = None
    ) -> AsyncIterator[WarmWorker]:
        """A worker at the place that suits best, in turn; the place is given back once the attempt is over there."""
        place = await self._take(wish, cancel)
        warm: WarmWorker | None = None
        try:
            warm = await self._upkeep.ready(place)
            yield warm
        finally:
            if warm is not None and warm.attends(attempt) and not self._upkeep.closing:
                self._upkeep.chore(self._leave(place, warm, attempt))
            else:
                self._upkeep.give_back(place)

    async def _take(self, wish: Wish, cancel: asyncio.Event | None) -> Place:
        """A place, waiting for one in turn: nobody is passed, so that who needs one alone gets it.

        Who has one held waits for nobody.
        """
        ticket = object()
        self._line.append(ticket)
        try:
            while True:
                if self._upkeep.closing:
                    raise closed()
                if cancel is not None and cancel.is_set():
                    raise _cancelled()
                if wish.profile and all(place.profile not in (b"", wish.profile) for place in self._places):
                    raise _no_such_worker()
                is_next = self._line[0] is ticket or is_held(self._places, wish)
                if is_next and (place := best(self._places, wish)) is not None:
                    place.enter(wish)
                    return place
                await self._turn(cancel)
        finally:
            self._line.remove(ticket)
            self._wake()

    async def _turn(self, cancel: asyncio.Event | None) -> None:
        """Wait until something has changed, or the caller cancels."""
        waits = [asyncio.create_task(event.wait()) for event in (self._changed, cancel) if event is not None]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _leave(self, place: Place, warm: WarmWorker, attempt: bytes) -> None:
        """Hear an abandoned attempt out. Nobody waits for this."""
        await warm.settle(attempt)
        self._upkeep.give_back(place)

    async def _prefetch(self, wish: Wish) -> None:
        try:
            async with self._worker(wish) as warm:
                await warm.load(wish.model, self._locate(wish.model))
        except (WorkerFailedError, LocalError, PeerError) as err:
            self._upkeep.last_error = str(err)
        finally:
            self._loading.discard(wish.holder)


def _no_such_worker() -> WorkerFailedError:
    return WorkerFailedError(Failure.DIED, "no worker of the same runtime profile can go on")


def _cancelled() -> WorkerFailedError:
    return WorkerFailedError(Failure.CANCELLED, "cancelled before it began")
