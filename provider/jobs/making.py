"""Attempts with a worker. Rule: no piece is begun that the credit window does not cover.

A picture is made piece by piece, each delivered and paid before the next. Who has not paid waits, worker and all, until
it pays or its time is over (`Attempts.tick`). What is stopped ends at a step; what was done by then is sold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gpufair.protocol import frames, limits
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import JobBody, JobHeader, Preview, Progress
from gpufair.protocol.ports import Clock
from gpufair.provider.jobs import bodies
from gpufair.provider.jobs.attempts import Attempts
from gpufair.provider.jobs.drawing import Drawing
from gpufair.provider.jobs.effects import Effect, Send, Stop
from gpufair.provider.jobs.pieces import Piece
from gpufair.provider.jobs.preempting import AtWork
from gpufair.provider.jobs.store import AttemptRow
from gpufair.provider.jobs.traces import Traces
from gpufair.provider.jobs.writing import Writing
from gpufair.provider.workers.outcome import Event, PictureResult, Reached, Taken

log = logging.getLogger(__name__)


class Workers(Protocol):
    """What the jobs room needs of the warm pool."""

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

    def hold(self, holder: bytes, model: bytes) -> None:
        """Keep a worker with a model for whoever runs as `holder`; said again, it mends what is not so."""
        ...

    def release(self, holder: bytes) -> None:
        """Let others in again where a worker was kept."""
        ...

    def run(
        self,
        run: frames.Run,
        cancel: asyncio.Event | None = None,
        *,
        inputs: Sequence[bytes] = (),
        holder: bytes = b"",
        profile: bytes = b"",
    ) -> AsyncGenerator[Event, None]:
        """Make pictures, `inputs` being those that the run names, for `holder`; raises WorkerFailedError."""
        ...


@dataclass
class Running:
    """An attempt at work."""

    work: AtWork
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    money: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when money has come under its lease, or when it need not wait for any."""
    order: Stop | None = None
    """Why it is to end at its next step."""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    """What happens to it later, unless it is over by then."""

    @property
    def attempt(self) -> bytes:
        """Its id."""
        return self.work.turn.attempt

    def end(self) -> None:
        """Let its worker end with the step at hand."""
        self.cancel.set()
        self.money.set()


class Making:
    """Has workers make what attempts are for. `perform` takes the effects of what they deliver."""

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

    async def make(self, attempt: AttemptRow, running: Running) -> None:
        """All that is left to do of an attempt, or as far as it gets before it is to end."""
        header = from_bytes(attempt.header, JobHeader).doc
        body = self._body(attempt, header)
        piece = self._attempts.following(attempt)
        while piece is not None:
            drawing = Drawing.begun(attempt, header, body, piece.picture)
            with self._traces.begin(attempt.id, piece.picture, header.spec.done) as writing:
                self._begin(drawing, piece, writing)
                piece = await self._picture(drawing, piece, running, writing)

    def _body(self, attempt: AttemptRow, header: JobHeader) -> JobBody:
        key = self._sealing.find(self._attempts.sealing_key(attempt))
        if key is None:  # a backup was put back that is older than the key
            raise PeerError(Fault.UNKNOWN, "the key that the body is sealed to is gone")
        return bodies.opened(self._attempts.sealed(attempt), key, header)

    def _begin(self, drawing: Drawing, piece: Piece, writing: Writing) -> None:
        """Tell what the picture goes on from, if it is another's; or be where a crash left it."""
        attempt, spec = drawing.attempt, drawing.header.spec
        last = piece.last_step if piece.whole else piece.last_step - 1
        left = writing.take_up(last) if self._attempts.carries(spec.model) else None
        if left is not None and left.step > spec.done:
            log.info(
                "attempt %s goes on with picture %d after step %d", attempt.id.hex()[:12], piece.picture, left.step
            )
            drawing.be_at(left)
        elif piece.first_step > spec.done:
            drawing.be_at(self._attempts.checkpoint(attempt, piece.picture, piece.first_step))
        elif spec.done:
            for state in drawing.pieces():
                writing.write(state)
            begun = Progress(attempt.job, drawing.picture, spec.done, spec.steps, drawing.leaves[0])
            self._perform([Send(attempt.lease, begun)])

    async def _picture(self, drawing: Drawing, first: Piece, running: Running, writing: Writing) -> Piece | None:
        """One picture, delivery by delivery; what comes after it, once there is room for it."""
        piece: Piece | None = first
        while piece is not None and piece.picture == drawing.picture:
            await self._stretch(drawing, piece, running, writing)
            if piece.whole and piece.picture + 1 == drawing.attempt.count:
                return None
            piece = await self._room(drawing.attempt, running)
        return piece

    async def _stretch(self, drawing: Drawing, piece: Piece, running: Running, writing: Writing) -> None:
        """One piece, from the worker to its delivery."""
        lease, job, steps = drawing.attempt.lease, drawing.attempt.job, drawing.header.spec.steps
        run, inputs = drawing.run(piece)
        making = self._workers.run(run, running.cancel, inputs=inputs, holder=lease, profile=drawing.profile)
        async with contextlib.aclosing(making) as events:
            async for event in events:
                match event:
                    case Taken(_, runtime):
                        drawing.profile = runtime.digest()
                        writing.ran_on(drawing.profile)
                    case frames.State():
                        writing.write(event)
                    case frames.Step(_, picture, step, leaf):
                        running.work.done += step > run.first_step
                        self._perform([Send(lease, Progress(job, picture, step, steps, leaf))])
                        await asyncio.sleep(0)  # it goes out now, whatever the worker's pipe holds already
                    case frames.Preview(_, picture, step, png):
                        self._perform([Send(lease, Preview(job, picture, step, png))])
                    case PictureResult():
                        self._deliver(drawing, event, writing)
                    case Reached():
                        self._reached(drawing, event, piece, running)

    def _deliver(self, drawing: Drawing, result: PictureResult, writing: Writing) -> None:
        """Its trace is kept before anybody hears of the picture; none is of one that came too late."""
        attempt, made = drawing.attempt, drawing.finished(result)
        key = attempt.lease, attempt.job, drawing.picture
        writing.keep(key, made.leaves, result.runtime, self._clock.now_ms() + limits.AUDIT_WINDOW_MS)
        effects = self._attempts.delivered(attempt.id, drawing.picture, made)
        if not effects:
            self._traces.drop(key)
        self._perform(effects)

    def _reached(self, drawing: Drawing, far: Reached, piece: Piece, running: Running) -> None:
        """A run has ended before its picture is done: at the end of a piece, or where it was stopped."""
        attempt, made, order = drawing.attempt, drawing.reached(far), running.order
        if order is not None:
            self._perform(self._attempts.stopped(order, drawing.picture, made))
        elif far.step == piece.last_step:
            self._perform(self._attempts.delivered(attempt.id, drawing.picture, made))

    async def _room(self, attempt: AttemptRow, running: Running) -> Piece | None:
        """Wait until what was delivered is paid for, and say what comes next; None if the attempt is to end before."""
        while not running.cancel.is_set():
            if self._attempts.has_room(attempt):
                return self._attempts.following(attempt)
            running.money.clear()
            await running.money.wait()
        return None
