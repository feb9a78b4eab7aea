"""Checks the answer to a question: how far a replay is off, how fast a worker is. Rule: one answer, of its kind."""

from __future__ import annotations

from gpufair.protocol.frames import Accepting, Failed, FromWorker, Measure, Measured, Replay, Replayed
from gpufair.provider.workers.attempt import hold
from gpufair.provider.workers.outcome import Answer, Failure, LieError, WorkerFailedError


class Question:
    """The conversation about one Replay or Measure. What the numbers are worth is for whoever asks to judge."""

    def __init__(self, asked: Replay | Measure) -> None:
        self._kind: type[Answer] = Replayed if isinstance(asked, Replay) else Measured
        self._accepted = False
        self.finished = False
        self.failure: WorkerFailedError | None = None

    def take(self, frame: FromWorker) -> Answer | None:
        """Check the next frame; the answer, if it is that. `LieError` when it can't be honest."""
        match frame:
            case Accepting():
                hold(not self._accepted, "it accepts a question twice")
                self._accepted = True
                return None
            case Failed():
                self.failure = WorkerFailedError(Failure(frame.code), frame.message)
            case Replayed() | Measured():
                hold(isinstance(frame, self._kind), f"a {type(frame).__name__} frame answers another question")
            case other:
                raise LieError(f"a {type(other).__name__} frame about a question")
        self.finished = True
        return frame if isinstance(frame, Replayed | Measured) else None
