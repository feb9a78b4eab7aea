"""The workers of a simulated provider. Rule: what a state or a picture is follows from its seed and step alone.

So a picture that went on elsewhere, or after a restart, is the same as one that was never stopped, and the judge can
tell. What comes next and what is sold the real rooms say; here is only the worker's time, its failures and its silence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from actor import Actor
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpufair.protocol import limits, trace
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.frames import RuntimeProfile
from gpufair.protocol.messages import JobHeader, Outcome, Progress, Reason, ReasonCode
from gpufair.provider.jobs import bodies
from gpufair.provider.jobs.drawing import Drawing
from gpufair.provider.jobs.effects import Send, Stop
from gpufair.provider.jobs.lookup import find_turn
from gpufair.provider.jobs.pieces import Piece
from gpufair.provider.jobs.preempting import AtWork, displaced, why
from gpufair.provider.jobs.store import AttemptRow
from gpufair.provider.jobs.turns import Turn, choose, went
from gpufair.provider.workers.outcome import PictureResult, Reached

SEALING = X25519PrivateKey.from_private_bytes(bytes(range(32)))
SEALING_PUBLIC = SEALING.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
RUNTIME = RuntimeProfile("3.11", "none", "none", "none", "simulated", "null", "float32", "none")
PROFILE = RUNTIME.digest()


def state_of(seed: int, step: int) -> bytes:
    """The state of a picture after so many steps: each follows from the one before."""
    state = hashlib.sha256(seed.to_bytes(8, "big")).digest()
    for _ in range(step):
        state = after(state)
    return state


def after(state: bytes) -> bytes:
    """The state one step later."""
    return hashlib.sha256(state).digest()


def decoded(state: bytes) -> bytes:
    """The picture of a last state."""
    return b"\x89PNG" + state * 2


@dataclass
class Work:
    """An attempt with a worker."""

    attempt: AttemptRow
    header: JobHeader
    at: AtWork
    drawing: Drawing | None = None
    piece: Piece | None = None
    state: bytes = b""
    step: int = 0
    """Where the worker is, and the state there."""
    leaves: list[bytes] = field(default_factory=list)
    """Those of this run, that which it began with included."""
    stopped: bool = False
    waits: bool = False
    """At the window, for money."""
    order: Stop | None = None
    """Why it ends at its next step."""


class WorkingActor(Actor):
    """A provider's workers; what they do is decided by its `attempts`."""

    sealing_key = SEALING
    pace_ms = 200
    """A step takes no longer."""

    def warm(self, _model: bytes) -> None:
        """A worker has loaded a model."""

    warm_models: frozenset[bytes] = frozenset()

    def enqueue(self, attempt: bytes) -> None:
        """An attempt is ready."""
        if attempt not in self.running:
            with self.store.read() as rows:
                self.queue.add(find_turn(rows, attempt, lambda _spec: 0))
        self.later(1, self.start_more)

    def start_more(self) -> None:
        """Give free workers something to do, in the order of the real queue; where nobody is free some make way."""
        busy = {work.attempt.lease for work in self.running.values()}
        while True:
            ready = self.queue.ready(busy, self.now_ms())
            wishes = [work.at.turn.wish for work in self.running.values()]
            turn = choose(ready, wishes, self.workers, self.warm_models)
            if turn is None:
                self._make_way(ready)
                return
            busy.add(turn.lease)
            row = self.attempts.start(turn.attempt)
            if row is not None:
                went(turn, ready)
                self.queue.remove(turn.attempt)
                self._start(row, turn)

    def _start(self, row: AttemptRow, turn: Turn) -> None:
        work = Work(row, from_bytes(row.header, JobHeader).doc, AtWork(turn, self.now_ms()))
        self.running[row.id] = work
        self.warm(work.header.spec.model)
        self.later(row.deadline_ms - self.now_ms(), lambda: self.expire(work))
        self.sim.note("  {} begins job {} ({} pictures)", self.name, row.job, work.header.spec.count)
        self.go_on(work)

    def _make_way(self, ready: list[Turn]) -> None:
        works = [work.at for work in self.running.values()]
        while found := displaced(ready, works, self.workers, self.now_ms(), self.displaced):
            worse, better = found
            if not self.attempts.may_start(better.attempt):
                ready = [turn for turn in ready if turn is not better]
                continue
            for work in worse:
                work.stopping = True
                self.displaced.add(work.turn.job)
                self.perform(self.attempts.stop(work.turn.attempt, Outcome.PREEMPTED, why(work.turn, better)))

    # --- piece by piece --------------------------------------------------------------------------------------------

    def go_on(self, work: Work) -> None:
        """The next piece, as soon as the window has room for it."""
        if self.over(work):
            return
        work.waits = not self.attempts.has_room(work.attempt)
        if work.waits:
            return
        piece = work.piece = self.attempts.following(work.attempt)
        assert piece is not None
        if work.drawing is None or work.drawing.picture != piece.picture:
            self._begin(work, piece)
        drawing = work.drawing
        assert drawing is not None
        drawing.run(piece)
        work.step = drawing.step
        work.state = drawing.state or state_of(drawing.body.seed + piece.picture, 0)
        work.leaves = [trace.leaf(work.step, work.state)]
        self._later_step(work)

    def _begin(self, work: Work, piece: Piece) -> None:
        """Another picture, from its beginning, from what its client brought, or from where a restart left it."""
        attempt, header = work.attempt, work.header
        body = bodies.opened(self.attempts.sealed(attempt), self.sealing_key, header)
        drawing = work.drawing = Drawing.begun(attempt, header, body, piece.picture)
        if piece.first_step > header.spec.done:
            drawing.be_at(self.attempts.checkpoint(attempt, piece.picture, piece.first_step))
        else:
            first = drawing.leaves[0] if drawing.leaves else trace.leaf(0, state_of(body.seed + piece.picture, 0))
            self._say_step(work, piece.picture, header.spec.done, first)

    def _say_step(self, work: Work, picture: int, step: int, leaf: bytes) -> None:
        message = Progress(work.attempt.job, picture, step, work.header.spec.steps, leaf)
        self.perform([Send(work.attempt.lease, message)])

    def _later_step(self, work: Work) -> None:
        self.later(self.sim.rng.randrange(1, self.pace_ms), lambda: self.step(work))

    def step(self, work: Work) -> None:
        """One step; at a piece's last one it is delivered, and whoever is to stop does so at any."""
        if self.over(work):
            return
        drawing, piece = work.drawing, work.piece
        assert drawing is not None
        assert piece is not None
        if self.sim.chance(0.01):
            self.perform(self.attempts.end(work.attempt.id, Outcome.FAILED, Reason(ReasonCode.WORKER_FAILED)))
            return
        work.step, work.state = work.step + 1, after(work.state)
        work.at.done += 1
        work.leaves.append(trace.leaf(work.step, work.state))
        self._say_step(work, piece.picture, work.step, work.leaves[-1])
        if work.step == piece.last_step and piece.whole:
            self._deliver_picture(work, drawing, piece)
        elif work.order is not None:
            made = drawing.reached(self._reached(work, piece))
            self.perform(self.attempts.stopped(work.order, piece.picture, made))
        elif work.step == piece.last_step:
            made = drawing.reached(self._reached(work, piece))
            self.perform(self.attempts.delivered(work.attempt.id, piece.picture, made))
            self.go_on(work)
        else:
            self._later_step(work)

    @staticmethod
    def _reached(work: Work, piece: Piece) -> Reached:
        return Reached(piece.picture, work.step, work.state, tuple(work.leaves), RUNTIME)

    def _deliver_picture(self, work: Work, drawing: Drawing, piece: Piece) -> None:
        png, leaves = decoded(work.state), tuple(work.leaves)
        root, digest = trace.root(leaves), hashlib.sha256(png).digest()
        result = PictureResult(piece.picture, png, digest, root, len(leaves), leaves, PROFILE, RUNTIME)
        self.perform(self.attempts.delivered(work.attempt.id, piece.picture, drawing.finished(result)))
        if work.order is not None:
            self.perform(self.attempts.stopped(work.order))
        if piece.picture + 1 == work.attempt.count:
            self.stop(work.attempt.id)
        else:
            self.go_on(work)

    def look_again(self, lease: bytes) -> None:
        """Money has come."""
        for work in list(self.running.values()):
            if work.attempt.lease == lease and work.waits:
                self.go_on(work)
        self.later(1, self.start_more)

    # --- ends ------------------------------------------------------------------------------------------------------

    def expire(self, work: Work) -> None:
        """The job's own deadline."""
        if not self.over(work):
            self.perform(self.attempts.stop(work.attempt.id, Outcome.EXPIRED, Reason(ReasonCode.EXPIRED)))

    def stop_all(self, outcome: Outcome) -> None:
        """The owner wants the machine back, or nothing more, or has better work: every attempt is to end."""
        self.sim.note("{} stops all: {}", self.name, outcome.name)
        for attempt in [*(turn.attempt for turn in self.queue.ready((), self.now_ms())), *self.running]:
            self.perform(self.attempts.stop(attempt, outcome, Reason(_WHY[outcome])))

    def halt(self, order: Stop) -> None:
        """End an attempt at work at its next step; a worker that keeps silent is not waited for."""
        work = self.running.get(order.attempt)
        if work is None or work.order is not None:
            return
        work.order, work.at.stopping = order, True
        if work.waits:
            self.perform(self.attempts.stopped(order))
        elif self.sim.chance(0.05):
            work.stopped = True
            self.later(limits.WORKER_STOP_MS, lambda: self.perform(self.attempts.stopped(order)))

    def over(self, work: Work) -> bool:
        """Whether this work was stopped."""
        return work.stopped or self.running.get(work.attempt.id) is not work

    def stop(self, attempt: bytes) -> None:
        """Take an attempt from its worker."""
        self.queue.remove(attempt)
        work = self.running.pop(attempt, None)
        if work is not None:
            work.stopped = True
        self.later(1, self.start_more)


_WHY = {
    Outcome.RECLAIMED: ReasonCode.RECLAIMED,
    Outcome.PREEMPTED: ReasonCode.PREEMPTED,
    Outcome.DRAINED: ReasonCode.DRAINING,
}
