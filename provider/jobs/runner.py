"""Attempts on their way through the workers. Rule: what is stopped ends at a step, and in time.

As many attempts at once as the workers have places for, whose turn it is (`turns`), but one at most of each lease: its
window is one piece. Who has not paid for a delivery waits in the queue, at no worker's cost, until it pays or its time
is over (`Attempts.tick`). How an attempt is made says `making`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gpufair.protocol import limits
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import Outcome, Reason, ReasonCode
from gpufair.protocol.ports import Clock
from gpufair.provider.jobs import forecast
from gpufair.provider.jobs.attempts import Attempts
from gpufair.provider.jobs.beats import beats
from gpufair.provider.jobs.bodies import WrongBodyError
from gpufair.provider.jobs.effects import Effect, Stop
from gpufair.provider.jobs.making import Making, Running, Workers
from gpufair.provider.jobs.preempting import AtWork, Displaced, displaced, why
from gpufair.provider.jobs.store import AttemptRow
from gpufair.provider.jobs.traces import Traces
from gpufair.provider.jobs.turns import Turn, Turns, choose, went
from gpufair.provider.workers.outcome import Failure, WorkerFailedError
from gpufair.provider.workers.places import Wish, needed

log = logging.getLogger(__name__)

STOPS = {Failure.CANCELLED, Failure.CLOSED}


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
        self._attempts, self._workers, self._clock, self._perform = attempts, workers, clock, perform
        self._making = Making(attempts, workers, sealing, clock, perform, traces)
        self._queue, self._displaced = Turns(), Displaced()
        self._running: dict[bytes, Running] = {}
        """By lease."""
        self._kept: dict[bytes, bytes] = {}
        """The models of the workers that are held, by the lease that they are held for."""
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

    @property
    def kept(self) -> int:
        """Workers that are held for leases."""
        return len(self._kept)

    def wait_ms(self, *, on_demand: bool) -> int:
        """About how long one more job would wait for its turn (see `forecast`)."""
        now = self._clock.now_ms()
        ready = self._others(self._queue.ready((), now))
        return forecast.wait_ms(self._works(), ready, self._size, now, on_demand=on_demand)

    @property
    def _size(self) -> int:
        """Workers for those who have none held."""
        return self._workers.size - len(self._kept)

    def _works(self) -> list[AtWork]:
        """What those have at work."""
        return [running.work for lease, running in self._running.items() if lease not in self._kept]

    def _others(self, ready: list[Turn]) -> list[Turn]:
        return [turn for turn in ready if turn.lease not in self._kept]

    def beats(self) -> list[Effect]:
        """What the clients of all that waits or runs hear from time to time."""
        now, works = self._clock.now_ms(), [running.work for running in self._running.values()]
        return [*beats(works, self._queue.ready((), now), self._workers.size, now)]

    def enqueue(self, turn: Turn) -> None:
        """An attempt is ready: it starts now or waits its turn."""
        running = self._running.get(turn.lease)
        if running is None or running.attempt != turn.attempt:
            self._queue.add(turn)
        self._start_more()

    def stop(self, attempt: bytes, outcome: Outcome, *reasons: Reason) -> None:
        """One of the five stops: an attempt that waits ends now, one at work at its next step, which is then sold."""
        self._perform(self._attempts.stop(attempt, outcome, *reasons))

    def halt(self, order: Stop) -> None:
        """Have the worker of an attempt end with the step at hand. The first stop counts."""
        running = self._at_work(order.attempt)
        if running is not None and running.order is None:
            running.order, running.work.stopping = order, True
            running.end()
            patience_s = limits.WORKER_STOP_MS / limits.SECOND
            running.timers.append(asyncio.get_running_loop().call_later(patience_s, self._give_up, running))

    def drop(self, attempt: bytes) -> None:
        """An attempt has ended: it waits no more, and its worker need not go on."""
        self._queue.remove(attempt)
        running = self._at_work(attempt)
        if running is not None:
            running.end()

    def _at_work(self, attempt: bytes) -> Running | None:
        return next((running for running in self._running.values() if running.attempt == attempt), None)

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
            running.end()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- workers that are held -----------------------------------------------------------------------------------

    def can_keep(self) -> bool:
        """Whether a worker is free to be held, or can be freed of interruptible work."""
        wishes = [work.turn.wish for work in self._works()]
        return needed([*wishes, Wish(b"")]) <= self._size or self._makes_way([_holder(b"", b"")]) is not None

    def keep(self, lease: bytes, model: bytes) -> None:
        """Hold a worker for a lease, with its model loaded."""
        if lease in self._kept:
            return
        self._make_way([_holder(lease, model)])
        self._kept[lease] = model
        self._workers.hold(lease, model)

    def let_go(self, lease: bytes) -> None:
        """Let others have the worker that was held for a lease."""
        if self._kept.pop(lease, None) is not None:
            self._workers.release(lease)
            self._start_more()

    def tend(self) -> list[Effect]:
        """See that what is held is warm."""
        for lease, model in self._kept.items():
            self._workers.hold(lease, model)
        return []

    # --- whose turn it is ----------------------------------------------------------------------------------------

    def _start_more(self) -> None:
        busy = {*self._running}
        while self._open:
            ready = self._queue.ready(busy, self._clock.now_ms())
            turn = self._next(ready)
            if turn is None:
                self._make_way(self._others(ready))
                return
            busy.add(turn.lease)
            attempt = self._attempts.start(turn.attempt)
            if attempt is None:  # its lease owes something
                continue
            if turn.lease not in self._kept:
                went(turn, self._others(ready))
            self._queue.remove(turn.attempt)
            running = self._running[turn.lease] = Running(AtWork(turn, self._clock.now_ms()))
            task = asyncio.create_task(self._run(attempt, running))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _next(self, ready: list[Turn]) -> Turn | None:
        """Who goes now: whoever has a worker held, as soon as there is one; else whose turn it is."""
        everybody = [running.work.turn.wish for running in self._running.values()]
        for turn in ready:
            if turn.lease in self._kept and needed([*everybody, turn.wish]) <= self._workers.size:
                return turn
        wishes = [work.turn.wish for work in self._works()]
        return choose(self._others(ready), wishes, self._size, self._workers.warm_models)

    def _makes_way(self, ready: list[Turn]) -> tuple[list[AtWork], Turn] | None:
        return displaced(ready, self._works(), self._size, self._clock.now_ms(), self._displaced)

    def _make_way(self, ready: list[Turn]) -> None:
        """End interruptible work at its next step for better bids that wait."""
        while found := self._makes_way(ready):
            worse, better = found
            if better.attempt and not self._attempts.may_start(better.attempt):  # its lease owes something
                ready = [turn for turn in ready if turn is not better]
                continue
            for work in worse:
                work.stopping = True
                self._displaced.add(work.turn.job)
                self.stop(work.turn.attempt, Outcome.PREEMPTED, why(work.turn, better))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an attempt's task failed", exc_info=task.exception())
        self._start_more()

    async def _run(self, attempt: AttemptRow, running: Running) -> None:
        left_s = (attempt.deadline_ms - self._clock.now_ms()) / limits.SECOND
        late = Reason(ReasonCode.EXPIRED, detail="the job's own deadline has passed")
        loop = asyncio.get_running_loop()
        running.timers.append(loop.call_later(max(0, left_s), self.stop, attempt.id, Outcome.EXPIRED, late))
        try:
            await self._making.make(attempt, running)
        except WorkerFailedError as failure:
            if failure.code not in STOPS:
                log.warning("attempt %s: %s %s", attempt.id.hex()[:12], failure, failure.log)
            self._fail(running, Reason(failure.reason, detail=failure.message))
        except WrongBodyError as error:
            self._fail(running, error.reason)
        except PeerError as error:
            self._fail(running, Reason(ReasonCode.BODY_WRONG, detail=error.what[: limits.TEXT_MAX]))
        except Exception:  # the engine is gone, or a bug: whatever it is, the client is told that nothing will come
            log.exception("attempt %s failed through us", attempt.id.hex()[:12])
            self._fail(running, Reason(ReasonCode.WORKER_GONE))
        finally:
            for timer in running.timers:
                timer.cancel()
            self._give_up(running)
            del self._running[attempt.lease]

    def _fail(self, running: Running, reason: Reason) -> None:
        """It failed through us, or could not be begun; one that is stopped has its end by then."""
        if running.order is None:
            self._perform(self._attempts.end(running.attempt, Outcome.FAILED, reason))

    def _give_up(self, running: Running) -> None:
        """End what was stopped, without a checkpoint: none has come, or none in time."""
        if running.order is not None:
            self._perform(self._attempts.stopped(running.order))


def _holder(lease: bytes, model: bytes) -> Turn:
    """Who has paid for a worker and orders nothing yet, as one who waits on demand."""
    return Turn(b"", lease, b"", Wish(model), 0, 1, 0)
