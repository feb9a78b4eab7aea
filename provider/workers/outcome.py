"""What comes of an attempt: events, pictures, or a named failure. Rule: nothing here was taken on a worker's word."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from gpufair.protocol.errors import printable
from gpufair.protocol.frames import FailCode, Measured, Preview, Replayed, RuntimeProfile, State, Step
from gpufair.protocol.limits import TEXT_MAX
from gpufair.protocol.messages.common import ReasonCode


@dataclass(frozen=True, slots=True)
class PictureResult:
    """A finished picture. The digest, the length, the number of leaves and the root were recomputed here.

    `index` counts over the whole job; `leaves` are those of all its steps, step 0 first, or that which the run went on
    from; `profile` is the digest of `runtime`, the profile that the worker stated at its start.
    """

    index: int
    png: bytes = field(repr=False)
    sha256: bytes
    trace_root: bytes
    leaf_count: int
    leaves: tuple[bytes, ...] = field(repr=False)
    profile: bytes
    runtime: RuntimeProfile = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """A worker has taken the attempt up. `runtime` is the profile that it stated at its start."""

    attempt: bytes
    runtime: RuntimeProfile = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a picture has come whose run ends before it is done: at its last step, or because it was cancelled.

    `state` is what leaf `step` commits to; `leaves` are those from the run's first step on, that one included; none of
    it was taken on a worker's word. `runtime` is the profile that the workers stated.
    """

    index: int
    step: int
    state: bytes = field(repr=False)
    leaves: tuple[bytes, ...] = field(repr=False)
    runtime: RuntimeProfile = field(repr=False)


Event = Taken | State | Step | Preview | PictureResult | Reached
Answer = Replayed | Measured


class Failure(IntEnum):
    """Why an attempt ended without its pictures. The first seven are the worker's own words (`FailCode`)."""

    BAD_REQUEST = FailCode.BAD_REQUEST
    OUT_OF_MEMORY = FailCode.OUT_OF_MEMORY
    MODEL_MISSING = FailCode.MODEL_MISSING
    MODEL_BAD = FailCode.MODEL_BAD
    CANCELLED = FailCode.CANCELLED
    INTERNAL = FailCode.INTERNAL
    CHECKPOINT_WRONG = FailCode.CHECKPOINT_WRONG
    START = 16
    SILENT = 17
    DIED = 18
    LIED = 19
    GPU_MISSING = 20
    CLOSED = 21


REASON = {
    Failure.BAD_REQUEST: ReasonCode.WORKER_FAILED,
    Failure.OUT_OF_MEMORY: ReasonCode.MEMORY_SHORT,
    Failure.MODEL_MISSING: ReasonCode.MODEL_NOT_OFFERED,
    Failure.MODEL_BAD: ReasonCode.MODEL_REFUSED,
    Failure.CANCELLED: ReasonCode.CANCELLED,
    Failure.INTERNAL: ReasonCode.WORKER_FAILED,
    Failure.CHECKPOINT_WRONG: ReasonCode.CHECKPOINT_WRONG,
    Failure.START: ReasonCode.WORKER_FAILED,
    Failure.SILENT: ReasonCode.WORKER_GONE,
    Failure.DIED: ReasonCode.WORKER_GONE,
    Failure.LIED: ReasonCode.WORKER_FAILED,
    Failure.GPU_MISSING: ReasonCode.GPU_MISSING,
    Failure.CLOSED: ReasonCode.WORKER_GONE,
}


class WorkerFailedError(Exception):
    """An attempt failed. `message` may go to the buyer; `log`, the end of the worker's stderr, may not.

    `again`: the worker is lost, and the attempt need not be the cause: another worker may take it up.
    """

    def __init__(self, code: Failure, message: str, log: str = "", *, again: bool = False) -> None:
        self.code = code
        self.message = printable(message, TEXT_MAX)
        self.log = log
        self.again = again
        super().__init__(f"{code.name}: {self.message}")

    @property
    def reason(self) -> ReasonCode:
        """The same for a signed decline."""
        return REASON[self.code]


class LieError(Exception):
    """A worker said what can't be true. It is never used again."""
