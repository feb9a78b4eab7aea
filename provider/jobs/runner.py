"""Attempts on their way through the workers. Rule: no picture is begun that the credit window does not cover.

As many attempts at once as the workers have places for, whose turn it is (`turns`), but one at most of each lease: its
window is one picture. Who has not paid for a picture waits in the queue, at no worker's cost, until it pays or its time
is over (`Attempts.tick`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from gpufair.protocol import frames, limits, ordering
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import JobHeader, Outcome, Preview, Progress, Reason, ReasonCode
from gpufair.protocol.ports import Clock
from gpufair.provider.jobs import bodies, forecast
from gpufair.provider.jobs.attempts import Attempts, Made
from gpufair.provider.jobs.bodies import WrongBodyError
from gpufair.provider.jobs.effects import Effect, Send
from gpufair.provider.jobs.preempting import AtWork, Displaced, displaced, why
from gpufair.provider.jobs.store import AttemptRow
from gpufair.provider.jobs.traces import Traces, Writing
from gpufair.provider.jobs.turns import Turn, Turns, choose, went
from gpufair.provider.workers.outcome import Event, Failure, PictureResult, WorkerFailedError

log = logging.getLogger(__name__)

STOPS = {Failure.CANCELLED, Failure.CLOSED}


class Workers(Protocol):
    """What the runner needs of the warm pool."""

    @property
    def size(self) -> int:
        """Workers that may run at once."""
        ...

    @property
    def warm_models(self) -> frozenset[bytes]:
        """Models in some worker's memory."""
        ...

    def prefetch(self, model: bytes) -> None:
        """Load a model ahead of need, if a worker has nothing else to do."""
        ...

    def run(
        self, run: frames.Run, cancel: asyncio.Event | None = None, *, inputs: Sequence[bytes] = ()
    ) -> AsyncGenerator[Event, None]:
        """Make pictures, `inputs` being those that the run names; raises WorkerFailedError."""
        ...


@dataclass
class _Running:
    work: AtWork
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    money: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when money has come under its lease, or when it need not wait for any."""


class Runner:
    """Runs queued attempts. `perform` takes the effects of what they lead to."""

    def __init__(
        self,
        attempts: Attempts,
        workers: Workers,
        sealing: SealingKeys,
        clock: Clock,
        perform: Callable[[list[Effect]], None],
        traces: Traces,
    ) -> None:
        self._attempts, self._workers, self._sealing, self._clock = attempts, workers, sealing, clock
        self._perform, self._traces = perform, traces
        self._queue, self._displaced = Turns(), Displaced()
        self._running: dict[bytes, _Running] = {}
        """By lease."""
        self._tasks: set[asyncio.Task[None]] = set()
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

    def wait_ms(self, *, on_demand: bool) -> int:
        """About how long one more job would wait for its turn (see `forecast`)."""
        now, works = self._clock.now_ms(), [running.work for running in self._running.values()]
        return forecast.wait_ms(works, self._queue.ready((), now), self._workers.size, now, on_demand=on_demand)

    def enqueue(self, turn: Turn) -> None:
        """An attempt is ready: it starts now or waits its turn."""
        running = self._running.get(turn.lease)
        if running is None or running.work.turn.attempt != turn.attempt:
            self._queue.add(turn)
        self._start_more()

    def stop(self, attempt: bytes) -> None:
        """End an attempt at its next step boundary; its row has been ended by whoever asks."""
        self._queue.remove(attempt)
        for running in self._running.values():
            if running.work.turn.attempt == attempt:
                running.cancel.set()
                running.money.set()

    def wake(self, lease: bytes) -> None:
        """Money has come under a lease."""
        running = self._running.get(lease)
        if running is not None:
            running.money.set()
        self._start_more()

    async def close(self) -> None:
        """Stop everything and wait until it has stopped."""
        self._open = False
        self._queue.clear()
        for running in self._running.values():
            running.cancel.set()
            running.money.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start_more(self) -> None:
        busy = {*self._running}
        while self._open:
            ready = self._queue.ready(busy, self._clock.now_ms())
            wishes = [running.work.turn.wish for running in self._running.values()]
            turn = choose(ready, wishes, self._workers.size, self._workers.warm_models)
            if turn is None:
                self._make_way(ready)
                return
            busy.add(turn.lease)
            attempt = self._attempts.start(turn.attempt)
            if attempt is None:  # its lease owes something
                continue
            went(turn, ready)
            self._queue.remove(turn.attempt)
            running = self._running[turn.lease] = _Running(AtWork(turn, self._clock.now_ms()))
            task = asyncio.create_task(self._run(attempt, running))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _make_way(self, ready: list[Turn]) -> None:
        """End interruptible work at its next step for better bids that wait."""
        works = [running.work for running in self._running.values()]
        while found := displaced(ready, works, self._workers.size, self._clock.now_ms(), self._displaced):
            worse, better = found
            if not self._attempts.may_start(better.attempt):  # its lease owes something
                ready = [turn for turn in ready if turn is not better]
                continue
            for work in worse:
                work.stopping = True
                self._displaced.add(work.turn.job)
                self._end(work.turn.attempt, Outcome.PREEMPTED, why(work.turn, better))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an attempt's task failed", exc_info=task.exception())
        self._start_more()

    async def _run(self, attempt: AttemptRow, running: _Running) -> None:
        attempt_id = attempt.id
        left_s = (attempt.deadline_ms - self._clock.now_ms()) / 1000
        deadline = asyncio.get_running_loop().call_later(max(0, left_s), self._expire, attempt_id)
        try:
            await self._make(attempt, running)
        except WorkerFailedError as failure:
            if failure.code not in STOPS:
                log.warning("attempt %s: %s %s", attempt_id.hex()[:12], failure, failure.log)
            self._end(attempt_id, Outcome.FAILED, Reason(failure.reason, detail=failure.message))
        except WrongBodyError as error:
            self._end(attempt_id, Outcome.FAILED, error.reason)
        except PeerError as error:
            self._end(attempt_id, Outcome.FAILED, Reason(ReasonCode.BODY_WRONG, detail=error.what[: limits.TEXT_MAX]))
        except Exception:  # the engine is gone, or a bug: whatever it is, the client is told that nothing will come
            log.exception("attempt %s failed through us", attempt_id.hex()[:12])
            self._end(attempt_id, Outcome.FAILED, Reason(ReasonCode.WORKER_GONE))
        finally:
            deadline.cancel()
            del self._running[attempt.lease]

    async def _make(self, attempt: AttemptRow, running: _Running) -> None:
        header = from_bytes(attempt.header, JobHeader).doc
        key = self._sealing.find(self._attempts.sealing_key(attempt))
        if key is None:  # a backup was put back that is older than the key
            raise PeerError(Fault.UNKNOWN, "the key that the body is sealed to is gone")
        body = bodies.opened(self._attempts.sealed(attempt), key, header)
        inputs = tuple(one.data for one in body.inputs)
        for picture in range(attempt.count):
            if picture and not await self._room(attempt, running):
                return
            # The states behind its leaves are for audits, and for another worker should this one be lost.
            run = replace(ordering.run(attempt.id, header, body, picture), trace=True)
            with self._traces.begin(attempt.id, picture) as writing:
                await self._picture(attempt, run, inputs, running, writing)

    async def _picture(
        self, attempt: AttemptRow, run: frames.Run, inputs: tuple[bytes, ...], running: _Running, writing: Writing
    ) -> None:
        lease, job, steps = attempt.lease, attempt.job, run.steps
        async with contextlib.aclosing(self._workers.run(run, running.cancel, inputs=inputs)) as events:
            async for event in events:
                match event:
                    case frames.State():
                        writing.write(event)
                    case frames.Step(_, picture, step, leaf):
                        running.work.done += step > run.first_step
                        self._perform([Send(lease, Progress(job, picture, step, steps, leaf))])
                        await asyncio.sleep(0)  # it goes out now, whatever the worker's pipe holds already
                    case frames.Preview(_, picture, step, png):
                        self._perform([Send(lease, Preview(job, picture, step, png))])
                    case PictureResult():
                        self._deliver(attempt, event, writing)

    def _deliver(self, attempt: AttemptRow, result: PictureResult, writing: Writing) -> None:
        """Its trace is kept before anybody hears of the picture; none is of one that came too late."""
        key = attempt.lease, attempt.job, result.index
        writing.keep(key, result, self._clock.now_ms() + limits.AUDIT_WINDOW_MS)
        made = Made(result.png, result.leaves, result.trace_root, result.profile)
        effects = self._attempts.delivered(attempt.id, result.index, made)
        if not effects:
            self._traces.drop(key)
        self._perform(effects)

    async def _room(self, attempt: AttemptRow, running: _Running) -> bool:
        """Wait until the last picture is paid for; False if the attempt is stopped before."""
        while not running.cancel.is_set():
            if self._attempts.has_room(attempt):
                return True
            running.money.clear()
            await running.money.wait()
        return False

    def _expire(self, attempt_id: bytes) -> None:
        self._end(attempt_id, Outcome.EXPIRED, Reason(ReasonCode.EXPIRED, detail="the job's own deadline has passed"))

    def _end(self, attempt_id: bytes, outcome: Outcome, *reasons: Reason) -> None:
        self._perform(self._attempts.end(attempt_id, outcome, *reasons))
