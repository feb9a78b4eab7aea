"""The workers of a simulated provider: they make tiny pictures, a step at a time, and wait at the window."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from actor import Actor
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpufair.protocol import trace
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import JobHeader, Outcome, Progress, Reason, ReasonCode
from gpufair.provider.jobs import bodies
from gpufair.provider.jobs.deliveries import Made
from gpufair.provider.jobs.effects import Send
from gpufair.provider.jobs.store import AttemptRow

SEALING = X25519PrivateKey.from_private_bytes(bytes(range(32)))
SEALING_PUBLIC = SEALING.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
PROFILE = hashlib.sha256(b"profile").digest()


@dataclass
class Work:
    """An attempt with a worker."""

    attempt: AttemptRow
    picture: int = 0
    stopped: bool = False
    waits: bool = False
    """At the window, for money."""
    leaves: list[bytes] = field(default_factory=list)


class WorkingActor(Actor):
    """A provider's workers; what they do is decided by its `attempts`."""

    sealing_key = SEALING
    pace_ms = 200
    """A step takes no longer."""

    def warm(self, _model: bytes) -> None:
        """A worker has loaded a model."""

    def enqueue(self, attempt: bytes) -> None:
        """An attempt is ready."""
        if attempt not in self.queue and attempt not in self.running:
            self.queue.append(attempt)
        self.later(1, self.start_more)

    def start_more(self) -> None:
        """Give free workers something to do."""
        for attempt in list(self.queue):
            if len(self.running) >= self.workers:
                return
            row = self.attempts.start(attempt)
            if row is None:
                continue
            self.queue.remove(attempt)
            piece = self.attempts.following(row)
            assert piece is not None
            work = self.running[row.id] = Work(row, piece.picture)
            header = from_bytes(row.header, JobHeader).doc
            bodies.opened(self.attempts.sealed(row), self.sealing_key, header)
            self.warm(header.spec.model)
            self.later(row.deadline_ms - self.now_ms(), lambda w=work: self.expire(w))
            self.sim.note("  {} begins job {} ({} pictures)", self.name, row.job, header.spec.count)
            self.begin_picture(work)

    def begin_picture(self, work: Work) -> None:
        """The next picture, as soon as the window has room for it."""
        if self.over(work):
            return
        work.waits = not self.attempts.has_room(work.attempt)
        if not work.waits:
            work.leaves = []
            self.later(self.sim.rng.randrange(1, self.pace_ms), lambda: self.step(work))

    def look_again(self, lease: bytes) -> None:
        """Money has come."""
        for work in list(self.running.values()):
            if work.attempt.lease == lease and work.waits:
                self.begin_picture(work)
        self.later(1, self.start_more)

    def expire(self, work: Work) -> None:
        """The job's own deadline."""
        if not self.over(work):
            self.perform(self.attempts.stop(work.attempt.id, Outcome.EXPIRED, Reason(ReasonCode.EXPIRED)))

    def step(self, work: Work) -> None:
        """One step, and after the last one the picture."""
        if self.over(work):
            return
        attempt, number = work.attempt, len(work.leaves)
        steps = from_bytes(attempt.header, JobHeader).doc.spec.steps
        work.leaves.append(trace.leaf(number, attempt.job[:4] + bytes([work.picture] * 4)))
        if number == 1 and self.sim.chance(0.02):
            self.perform(self.attempts.end(attempt.id, Outcome.FAILED, Reason(ReasonCode.WORKER_FAILED)))
            return
        self.perform([Send(attempt.lease, Progress(attempt.job, work.picture, number, steps, work.leaves[-1]))])
        if number < steps:
            self.later(self.sim.rng.randrange(1, self.pace_ms), lambda: self.step(work))
            return
        png = b"\x89PNG" + attempt.job + bytes([work.picture]) * 20
        made = Made(png, tuple(work.leaves), PROFILE)
        self.perform(self.attempts.delivered(attempt.id, work.picture, made))
        work.picture += 1
        if work.picture < attempt.count:
            self.begin_picture(work)
        else:
            self.stop(attempt.id)

    def over(self, work: Work) -> bool:
        """Whether this work was stopped."""
        return work.stopped or self.running.get(work.attempt.id) is not work

    def stop(self, attempt: bytes) -> None:
        """Take an attempt from its worker."""
        if attempt in self.queue:
            self.queue.remove(attempt)
        work = self.running.pop(attempt, None)
        if work is not None:
            work.stopped = True
        self.later(1, self.start_more)
