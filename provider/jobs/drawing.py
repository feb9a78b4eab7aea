"""A picture in the making. Rule: what a worker is asked next follows from where the last one left off.

The state that a piece ends with is what the next one goes on from, and so is one that a client brought, or that was
delivered before a restart. The leaves are those of the whole picture, as far as it is made here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from gpufair.protocol import limits, ordering, trace
from gpufair.protocol.frames import STATE, InputRef, Run, State
from gpufair.protocol.messages import InputKind, JobBody, JobHeader
from gpufair.provider.jobs.deliveries import Made
from gpufair.provider.jobs.pieces import Piece
from gpufair.provider.jobs.store import AttemptRow
from gpufair.provider.jobs.writing import Left
from gpufair.provider.workers.outcome import PictureResult, Reached


@dataclass
class Drawing:
    """Where a picture stands: `leaves` from its first state here to that after `step` steps, and that state."""

    attempt: AttemptRow
    header: JobHeader
    body: JobBody
    picture: int
    step: int = 0
    state: bytes = b""
    leaves: tuple[bytes, ...] = ()
    profile: bytes = b""
    """The runtime profile that it was begun on: what follows is made on the same."""

    @classmethod
    def begun(cls, attempt: AttemptRow, header: JobHeader, body: JobBody, picture: int) -> Drawing:
        """A picture of which nothing was done here."""
        done = header.spec.done
        state = next((one.data for one in body.inputs if one.kind is InputKind.STATE), b"")
        return cls(attempt, header, body, picture, done, state, (trace.leaf(done, state),) if done else ())

    def be_at(self, left: Left) -> None:
        """Stand where an earlier run of the node left it."""
        self.step, self.state, self.leaves, self.profile = left.step, left.state, left.leaves, left.profile

    def run(self, piece: Piece) -> tuple[Run, tuple[bytes, ...]]:
        """What a worker is asked for a piece, and the bytes of its inputs.

        The states behind its leaves are for audits, for another worker should that one be lost, and for a stop.
        """
        run = ordering.run(self.attempt.id, self.header, self.body, self.picture)
        own = tuple(ref for ref in run.inputs if ref.kind != STATE)
        data = tuple(one.data for one in self.body.inputs if one.kind is not InputKind.STATE)
        last = 0 if piece.whole else piece.last_step
        run = replace(run, inputs=own, first_step=self.step, last_step=last, trace=True)
        if not self.step:
            return run, data
        state = InputRef(STATE, hashlib.sha256(self.state).digest(), len(self.state), self.step)
        return replace(run, inputs=(*own, state)), (*data, self.state)

    def pieces(self) -> list[State]:
        """The state as a worker would tell it."""
        size = len(self.state)
        return [
            State(self.attempt.id, self.picture, self.step, at, size, self.state[at : at + limits.OUTPUT_CHUNK])
            for at in range(0, size, limits.OUTPUT_CHUNK)
        ]

    def reached(self, far: Reached) -> Made:
        """The worker's run has ended at a step: be there."""
        self.leaves = (*self.leaves[:-1], *far.leaves)
        self.step, self.state = far.step, far.state
        return Made(far.state, self.leaves, far.runtime.digest(), far.step)

    def finished(self, result: PictureResult) -> Made:
        """The picture is done."""
        self.leaves = (*self.leaves[:-1], *result.leaves)
        return Made(result.png, self.leaves, result.profile)
