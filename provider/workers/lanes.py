"""What a worker says of one attempt, until its caller asks for it. Rule: little waits here; then the worker waits.

All attempts at a worker come through one pipe. While a lane is full nothing is read from that pipe, so that a slow
caller can't fill our memory with what others' attempts say either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Protocol, TypeVar

from gpufair.protocol.errors import LocalError
from gpufair.protocol.frames import FromWorker, Preview, State
from gpufair.protocol.limits import FRAME_CREDIT
from gpufair.provider.workers.outcome import PictureResult, WorkerFailedError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

EVENTS_MAX = 32
"""Events that wait in one lane; or `FRAME_CREDIT` bytes of pictures and states."""


class Checker(Protocol[T_co]):
    """Judges what is said of an attempt: `attempt.Attempt`, `question.Question`."""

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be said."""
        ...

    @property
    def failure(self) -> WorkerFailedError | None:
        """Why it came to nothing, if the worker said so itself."""
        ...

    def take(self, frame: FromWorker) -> T_co | None:
        """What a frame means for the caller, if anything. `LieError` when it can't be honest."""
        ...


class Lane(Generic[T]):
    """One attempt's events between the worker's reader and the attempt's caller."""

    def __init__(self, checker: Checker[T], patience_ms: int) -> None:
        self.checker, self.patience_ms = checker, patience_ms
        self.over = asyncio.Event()
        """The worker has nothing more to say of it, or is broken."""
        self._events: deque[T] = deque()
        self._bytes = 0
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._failure: WorkerFailedError | LocalError | None = None
        self._deaf = False

    @property
    def is_full(self) -> bool:
        """Whether the worker must wait for the caller."""
        return len(self._events) >= EVENTS_MAX or self._bytes >= FRAME_CREDIT

    async def room(self) -> None:
        """Wait until the lane is not full any more."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def take(self, frame: FromWorker) -> None:
        """Judge a frame and keep what it means. `LieError` when it can't be honest."""
        event = self.checker.take(frame)
        if event is not None and not self._deaf:
            self._events.append(event)
            self._bytes += _bytes(event)
            self._news.set()
        if self.checker.finished:
            self.end(self.checker.failure)

    def end(self, failure: WorkerFailedError | LocalError | None) -> None:
        """Nothing more will come. The caller gets what came before, then the failure."""
        if not self.over.is_set():
            self._failure = self._failure or failure
            self.over.set()
            self._news.set()

    def drop(self, failure: WorkerFailedError | None = None) -> None:
        """The caller asks no more, or gets this failure if it does. What the worker still says is judged, not kept."""
        self._deaf, self._failure = True, failure
        self._events.clear()
        self._bytes = 0
        self._room.set()
        self._news.set()

    async def next(self) -> T | None:
        """The next event, waiting for it; None at the end. Raises what the attempt failed with."""
        while not self._events:
            if self._failure is not None:
                raise self._failure
            if self.over.is_set():
                return None
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        self._bytes -= _bytes(event)
        self._room.set()
        return event


def _bytes(event: object) -> int:
    match event:
        case State():
            return len(event.data)
        case PictureResult() | Preview():
            return len(event.png)
    return 0
