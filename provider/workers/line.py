"""The line to one worker: what it is told, and who hears what it says. Rule: one task reads, whoever else talks.

A break ends everything that is under way at the worker. Whoever caused it is told so; all others are told that another
worker may go on with what they want.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from gpufair.protocol import limits
from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.frames import Cancel, FromWorker, Loaded, LoadFailed, ToWorker
from gpufair.provider.workers.lanes import Checker, Lane
from gpufair.provider.workers.outcome import Failure, LieError, WorkerFailedError
from gpufair.provider.workers.runtime import Worker, WorkerSpec
from gpufair.provider.workers.silence import Silence
from gpufair.provider.workers.times import Times

log = logging.getLogger(__name__)

T = TypeVar("T")

EXIT_NO_DEVICE = 4
"""The exit status by which a worker says that the device it was told to use isn't there."""


class Line:
    """A started worker's line."""

    def __init__(self, worker: Worker, spec: WorkerSpec, times: Times) -> None:
        self.worker, self._spec, self._times = worker, spec, times
        self.broken: WorkerFailedError | LocalError | None = None
        """Why it can't be used any more."""
        self.lanes: dict[bytes, Lane[Any]] = {}
        """By attempt."""
        self._loaded: asyncio.Future[Loaded | LoadFailed] | None = None
        self._silence = Silence(self._patience, self._fall_silent, times.silence_ms)
        self._reader: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[Any]] = set()

    # --- talking -------------------------------------------------------------------------------------------------

    async def say(self, frame: ToWorker) -> None:
        """Tell the worker something. `WorkerFailedError` if it doesn't read."""
        try:
            async with asyncio.timeout(self._times.silence_ms / limits.SECOND):
                await self.worker.send(frame)
        except PeerError:
            # What went wrong is told by reading: the worker's last frames, or how it ended.
            return
        except TimeoutError as err:
            raise self.fail(Failure.SILENT, "the worker doesn't read") from err

    def open(self, attempt: bytes, checker: Checker[T], patience_ms: int) -> Lane[T]:
        """Whatever the worker says of an attempt goes to this lane from now on."""
        if self.broken is not None:
            raise self.broken
        if attempt in self.lanes:
            raise WorkerFailedError(Failure.BAD_REQUEST, "this attempt is under way at the worker already")
        lane = self.lanes[attempt] = Lane(checker, patience_ms)
        self._silence.expect()
        return lane

    async def stop(self, attempt: bytes, lane: Lane[Any]) -> None:
        """Have the worker end an attempt. One that goes on in spite of it is broken."""
        # In company, what it says of this may wait behind another's slow caller.
        patience_ms = self._times.silence_ms * min(2, len(self.lanes))
        try:
            await self.say(Cancel(attempt))
            await asyncio.wait_for(lane.over.wait(), patience_ms / limits.SECOND)
        except WorkerFailedError:
            return
        except TimeoutError:
            self.fail(Failure.SILENT, "the worker did not stop when it was told to", culprit=attempt)

    def leave(self, attempt: bytes, lane: Lane[Any], failure: WorkerFailedError | None = None) -> None:
        """Nobody listens to an attempt any more: it is stopped, and heard out by nobody."""
        lane.drop(failure)
        self.chore(self.stop(attempt, lane))

    async def asked_to_load(self, order: ToWorker) -> Loaded | LoadFailed:
        """The answer to a Load. One at a time."""
        if self.broken is not None:
            raise self.broken
        self._loaded = asyncio.get_running_loop().create_future()
        try:
            self._silence.expect()
            await self.say(order)
            return await self._loaded
        finally:
            self._loaded = None

    def chore(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Something to be done even if nobody waits for it; it ends with the line."""
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chore_done)
        return task

    def _chore_done(self, task: asyncio.Task[Any]) -> None:
        self._chores.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not isinstance(failure, WorkerFailedError):
            log.error("what was to be done at a worker failed", exc_info=failure)

    # --- hearing -------------------------------------------------------------------------------------------------

    async def first_word(self) -> FromWorker:
        """What the worker says first, before `listen`."""
        patience_ms = self._times.start_ms
        try:
            async with asyncio.timeout(patience_ms / limits.SECOND):
                frame = await self.worker.receive()
        except TimeoutError as err:
            raise self._fall_silent(patience_ms) from err
        except PeerError as err:
            raise self.lie(err.what) from err
        if frame is None:
            raise self._ended(starting=True)
        return frame

    def listen(self) -> None:
        """Hear all that it says from now on."""
        self._reader = asyncio.create_task(self._read(), name="worker-frames")

    async def close(self) -> None:
        """End what is under way and the worker with it."""
        self._break(WorkerFailedError(Failure.DIED, "the worker was ended", again=True))
        self._silence.end()
        try:
            await self.worker.kill()
        finally:
            tasks = [*self._chores] + ([self._reader] if self._reader is not None else [])
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        attempt = b""
        try:
            while True:
                with self._silence.listening():
                    frame = await self.worker.receive()
                if frame is None:
                    self._ended(starting=False)
                    return
                attempt = getattr(frame, "attempt", b"")
                await self._take(frame, attempt)
        except LieError as lie:
            self.lie(str(lie), attempt)
        except PeerError as err:
            self.lie(err.what)
        except LocalError as err:  # the engine has gone, and with it the way to the worker
            self._break(err)
        except Exception:
            log.exception("a worker could not be heard")
            self.fail(Failure.DIED, "the worker could not be heard")

    async def _take(self, frame: FromWorker, attempt: bytes) -> None:
        if isinstance(frame, Loaded | LoadFailed) and self._loaded is not None and not self._loaded.done():
            self._loaded.set_result(frame)
            return
        lane = self.lanes.get(attempt)
        if lane is None:
            raise LieError(f"a {type(frame).__name__} frame that belongs to no attempt under way")
        lane.take(frame)
        if lane.over.is_set():
            del self.lanes[attempt]
        while lane.is_full:
            await self._wait_for(attempt, lane)

    async def _wait_for(self, attempt: bytes, lane: Lane[Any]) -> None:
        """Wait for the caller of a full lane. Alone it may take its time; others don't wait so long for it."""
        try:
            await asyncio.wait_for(lane.room(), self._times.silence_ms / limits.SECOND)
        except TimeoutError:
            if self._loaded is not None or self.lanes.keys() - {attempt}:
                slow = "what the worker said was not taken, and others waited for it"
                self.leave(attempt, lane, WorkerFailedError(Failure.CANCELLED, slow))

    # --- breaking ------------------------------------------------------------------------------------------------

    def lie(self, what: str, culprit: bytes = b"") -> WorkerFailedError | LocalError:
        """It has said what can't be true, of the attempt `culprit` if that is known."""
        return self.fail(Failure.LIED, f"the worker broke the protocol: {what}", culprit)

    def fail(
        self, code: Failure, message: str, culprit: bytes = b"", *, again: bool = True
    ) -> WorkerFailedError | LocalError:
        """It can't be used any more."""
        return self._break(WorkerFailedError(code, message, self.worker.log_tail, again=again), culprit)

    def _break(self, failure: WorkerFailedError | LocalError, culprit: bytes = b"") -> WorkerFailedError | LocalError:
        """End all that is under way; why it broke first is what counts."""
        if self.broken is not None:
            return self.broken
        self.broken = failure
        for attempt, lane in self.lanes.items():
            lane.end(_told(failure, guilty=attempt == culprit))
        self.lanes.clear()
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(failure)
        return failure

    def _ended(self, *, starting: bool) -> WorkerFailedError | LocalError:
        end = self.worker.exit
        if end is not None and end.out_of_memory:
            # Alone again, it would need as much again.
            message = f"the worker needed more than {self._spec.memory_bytes} bytes"
            return self.fail(Failure.OUT_OF_MEMORY, message, again=len(self.lanes) > 1)
        status = None if end is None else end.status
        if starting and self._spec.gpu and status == EXIT_NO_DEVICE:
            return self.fail(Failure.GPU_MISSING, "a GPU was asked for and the worker sees none", again=False)
        code = Failure.START if starting else Failure.DIED
        return self.fail(code, f"the worker ended with status {status}", again=not starting)

    def _fall_silent(self, patience_ms: int) -> WorkerFailedError | LocalError:
        return self.fail(Failure.SILENT, f"the worker was silent for {patience_ms / limits.SECOND:g} s")

    def _patience(self) -> int | None:
        """How long it may be silent now; None while nothing is due."""
        due = [lane.patience_ms for lane in self.lanes.values()]
        if self._loaded is not None:
            due.append(self._times.start_ms)
        return max(due, default=None)


def _told(failure: WorkerFailedError | LocalError, *, guilty: bool) -> WorkerFailedError | LocalError:
    """The same for one attempt: whoever caused it is not tried again."""
    if isinstance(failure, LocalError):
        return failure
    return WorkerFailedError(failure.code, failure.message, failure.log, again=failure.again and not guilty)
