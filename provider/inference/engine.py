"""What a worker can do, whatever does it. Rule: an engine refuses with a code; any other exception is its bug."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gpufair.protocol.frames import (
    FailCode,
    FromWorker,
    Load,
    Measure,
    Measured,
    Replay,
    Replayed,
    Run,
    RuntimeProfile,
)

Tell = Callable[[FromWorker], None]
"""Sends a frame to the node; may block until the node has read enough."""

Ended = tuple[bytes, Exception | None]
"""An attempt that is over: its id, and what ended it before all of its pictures were told, if anything did."""


class RefusedError(Exception):
    """A model or an attempt can't be served. The worker says so to the node and lives on."""

    def __init__(self, code: FailCode, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class Engine(Protocol):
    """The work behind the frames."""

    @property
    def profile(self) -> RuntimeProfile:
        """All that the bits of a result depend on."""

    @property
    def memory_bytes(self) -> int:
        """The whole memory of the device that computes."""

    def load(self, load: Load) -> int:
        """Hold the model in memory and return the bytes of its weights. `RefusedError` if that can't be."""

    @property
    def held(self) -> tuple[bytes, ...]:
        """The models in memory, the one used last at the end."""

    def holds(self, digest: bytes) -> int | None:
        """The bytes of the model's weights if it is in memory, else None. Asked when the node wants it loaded."""

    @property
    def is_busy(self) -> bool:
        """Whether attempts are under way."""

    def admit(self, run: Run, inputs: Sequence[bytes], tell: Tell, cancelled: Callable[[], bool]) -> None:
        """Take an attempt up beside those under way, with the bytes of what `run.inputs` names, in that order.

        `RefusedError` when it can't or mustn't be done.
        """

    def measure(self, order: Measure, inputs: Sequence[bytes]) -> Measured:
        """How fast an attempt is made; asked while none is under way. `RefusedError` when it can't be made."""

    def replay(self, order: Replay, inputs: Sequence[bytes]) -> Replayed:
        """Do a step of somebody's run again: how far off the claim is. `RefusedError` when it can't be done."""

    def advance(self) -> list[Ended]:
        """Do the next piece of the work under way, telling steps and outputs; which attempts are over by now."""
