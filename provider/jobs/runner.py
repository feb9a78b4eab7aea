"""Attempts on their way through the workers. Rule: no picture is begun that the credit window does not cover.

A bounded queue in the order of acceptance; as many attempts at once as there are workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gpufair.protocol import frames, limits, sealing
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import JobBody, JobHeader, Outcome, Preview, Progress, Reason, ReasonCode
from gpufair.protocol.ports import Clock
from gpufair.provider.jobs.attempts import Attempts, Made
from gpufair.provider.jobs.effects import Effect, Send
from gpufair.provider.jobs.store import AttemptRow
from gpufair.provider.workers.outcome import Event, Failure, PictureResult, WorkerFailedError

log = logging.getLogger(__name__)

STOPS = {Failure.CANCELLED, Failure.CLOSED}


class Workers(Protocol):
    """What the runner needs of the warm pool."""

    @property
    def size(self) -> int:
        """Workers that may run at once."""
        ...

    def run(self, run: frames.Run, cancel: asyncio.Event | None = None) -> AsyncGenerator[Event, None]:
        """Make pictures; raises WorkerFailedError."""
        ...


@dataclass
class _Running:
    attempt: AttemptRow
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    making: int = 0
    """The worth of the picture being made now."""


class Runner:
    """Runs queued attempts. `perform` takes the effects of what they lead to."""

    def __init__(
        self,
        attempts: Attempts,
        workers: Workers,
        sealing_key: X25519PrivateKey,
        clock: Clock,
        perform: Callable[[list[Effect]], None],
        *,
        unpaid_ms: int = limits.WINDOW_TIMEOUT_MS,
    ) -> None:
        self._attempts, self._workers, self._key, self._clock = attempts, workers, sealing_key, clock
        self._perform, self._unpaid_ms = perform, unpaid_ms
        self._queue: deque[bytes] = deque()
        self._running: dict[bytes, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._money: dict[bytes, asyncio.Event] = {}
        self._open = True

    @property
    def waiting(self) -> int:
        """Attempts in the queue."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Attempts with a worker."""
        return len(self._running)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way, an attempt between the queue and its worker included."""
        return not self._queue and not self._tasks

    def enqueue(self, attempt: bytes) -> None:
        """An attempt is ready: it starts now or waits its turn."""
        if attempt not in self._queue and attempt not in self._running:
            self._queue.append(attempt)
        self._start_more()

    def stop(self, attempt: bytes) -> None:
        """End an attempt at its next step boundary; its row has been ended by whoever asks."""
        with contextlib.suppress(ValueError):
            self._queue.remove(attempt)
        running = self._running.get(attempt)
        if running is not None:
            running.cancel.set()
            self.wake(running.attempt.lease)

    def wake(self, lease: bytes) -> None:
        """Money has come under a lease."""
        event = self._money.get(lease)
        if event is not None:
            event.set()

    async def close(self) -> None:
        """Stop everything and wait until it has stopped."""
        self._open = False
        self._queue.clear()
        for running in self._running.values():
            running.cancel.set()
            self.wake(running.attempt.lease)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def drained(self) -> None:
        """Wait until nothing runs and nothing waits."""
        while self._queue or self._tasks:
            await asyncio.wait(self._tasks) if self._tasks else await asyncio.sleep(0.01)

    def _start_more(self) -> None:
        while self._open and self._queue and len(self._tasks) < self._workers.size:
            task = asyncio.create_task(self._run(self._queue.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an attempt's task failed", exc_info=task.exception())
        self._start_more()

    async def _run(self, attempt_id: bytes) -> None:
        attempt = self._attempts.start(attempt_id)
        if attempt is None:
            return
        running = self._running[attempt_id] = _Running(attempt)
        left_s = (attempt.deadline_ms - self._clock.now_ms()) / 1000
        deadline = asyncio.get_running_loop().call_later(max(0, left_s), self._expire, attempt_id)
        try:
            await self._make(running)
        except WorkerFailedError as failure:
            if failure.code not in STOPS:
                log.warning("attempt %s: %s %s", attempt_id.hex()[:12], failure, failure.log)
            self._end(attempt_id, Outcome.FAILED, Reason(failure.reason, detail=failure.message))
        except PeerError as error:
            self._end(attempt_id, Outcome.FAILED, Reason(ReasonCode.BODY_WRONG, detail=error.what[: limits.TEXT_MAX]))
        except Exception:  # the engine is gone, or a bug: whatever it is, the client is told that nothing will come
            log.exception("attempt %s failed through us", attempt_id.hex()[:12])
            self._end(attempt_id, Outcome.FAILED, Reason(ReasonCode.WORKER_GONE))
        finally:
            deadline.cancel()
            del self._running[attempt_id]
            if not any(other.attempt.lease == attempt.lease for other in self._running.values()):
                self._money.pop(attempt.lease, None)

    async def _make(self, running: _Running) -> None:
        attempt = running.attempt
        header = from_bytes(attempt.header, JobHeader).doc
        body = sealing.open_body(attempt.sealed, self._key, lease=attempt.lease, job=attempt.job)
        for picture in range(attempt.count):
            if not await self._room(running):
                return
            running.making = attempt.increment
            try:
                await self._picture(running, request(attempt.id, header, body, picture))
            finally:
                running.making = 0

    async def _picture(self, running: _Running, run: frames.Run) -> None:
        lease, job, steps = running.attempt.lease, running.attempt.job, run.steps
        async with contextlib.aclosing(self._workers.run(run, running.cancel)) as events:
            async for event in events:
                match event:
                    case frames.Step(_, picture, step, leaf):
                        self._perform([Send(lease, Progress(job, picture, step, steps, leaf))])
                    case frames.Preview(_, picture, step, png):
                        self._perform([Send(lease, Preview(job, picture, step, png))])
                    case PictureResult():
                        await asyncio.sleep(0)  # the steps go out before the work of delivering begins
                        made = Made(event.png, event.leaves, event.trace_root, event.profile)
                        self._perform(self._attempts.delivered(running.attempt.id, event.index, made))

    async def _room(self, running: _Running) -> bool:
        """Wait until the window has room for one more picture; unpaid for too long, the attempt expires (21)."""
        attempt = running.attempt
        until = self._clock.now_ms() + self._unpaid_ms
        while not running.cancel.is_set():
            in_progress = sum(r.making for r in self._running.values() if r.attempt.lease == attempt.lease)
            if self._attempts.may_begin(attempt, in_progress):
                return True
            left_ms = until - self._clock.now_ms()
            if left_ms <= 0:
                reason = Reason(ReasonCode.UNPAID, self._unpaid_ms - left_ms, self._unpaid_ms, "ms unpaid")
                self._end(attempt.id, Outcome.EXPIRED, reason)
                return False
            event = self._money.setdefault(attempt.lease, asyncio.Event())
            event.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), left_ms / 1000)
        return False

    def _expire(self, attempt_id: bytes) -> None:
        self._end(attempt_id, Outcome.EXPIRED, Reason(ReasonCode.EXPIRED, detail="the job's own deadline has passed"))

    def _end(self, attempt_id: bytes, outcome: Outcome, *reasons: Reason) -> None:
        self._perform(self._attempts.end(attempt_id, outcome, *reasons))


def request(attempt: bytes, header: JobHeader, body: JobBody, picture: int) -> frames.Run:
    """What a worker is asked for one picture of a job: nothing of it but these checked values comes from the client."""
    spec = header.spec
    return frames.Run(
        attempt=attempt,
        model=spec.model,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seed=body.seed,
        steps=spec.steps,
        guidance_milli=body.guidance_milli if spec.guided else 1000,
        width=spec.width,
        height=spec.height,
        scheduler=spec.scheduler.name.lower(),
        count=1,
        preview_every=header.preview_every,
        first_picture=picture,
        task=spec.task.name.lower(),
    )
