"""The null worker: all of the frames, none of the work. Rule: it starts in a blink, so it imports no torch.

`python -m gpufair.provider.inference.null`. Every model counts as loaded. Each picture is the same grey 8 by 8 PNG,
whatever was asked and put in; the states behind its leaves are 32 bytes that depend on its seed and step alone.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections import deque
from collections.abc import Callable, Sequence

from gpufair.protocol import trace
from gpufair.protocol.frames import (
    STATE,
    FailCode,
    Hello,
    Load,
    Measure,
    Measured,
    OutputChunk,
    OutputEnd,
    Replay,
    Replayed,
    Run,
    RuntimeProfile,
    State,
    Step,
)
from gpufair.protocol.limits import HELD_MODELS_MAX
from gpufair.provider.inference.engine import Ended, RefusedError, Tell
from gpufair.provider.inference.inputs import given
from gpufair.provider.inference.request import refuse_bad, seed_of
from gpufair.provider.inference.serve import main

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR4nGNsYIAAJgaKGAAmCACQXTClHgAAAABJRU5ErkJggg=="
)


class NullEngine:
    """Says that it works, and doesn't."""

    memory_bytes = 0

    def __init__(self, hello: Hello) -> None:
        if hello.device not in ("auto", "cpu", "null"):
            raise RefusedError(FailCode.BAD_REQUEST, f"the null worker has no device {hello.device}")
        self.profile = RuntimeProfile(platform.python_version(), "none", "none", "none", "null", "null", "null", "none")
        self._asked: list[bytes] = []
        self._waiting: deque[tuple[Run, Tell, Callable[[], bool]]] = deque()

    @property
    def held(self) -> tuple[bytes, ...]:
        """The models that were asked for, newest last."""
        return tuple(self._asked)

    def load(self, load: Load) -> int:
        """Nothing to load."""
        del load
        return 0

    def holds(self, digest: bytes) -> int | None:
        """Every model is in memory, with no weights."""
        self._asked = [*(known for known in self._asked if known != digest), digest][-HELD_MODELS_MAX:]
        return 0

    @property
    def is_busy(self) -> bool:
        """Whether attempts wait."""
        return bool(self._waiting)

    def admit(self, run: Run, inputs: Sequence[bytes], tell: Tell, cancelled: Callable[[], bool]) -> None:
        """Take an attempt, if the real worker would."""
        refuse_bad(run)
        if run.first_step and given(run, inputs, STATE) != _state(run, run.first_picture, run.first_step):
            what = f"this is not the state of picture {run.first_picture} after step {run.first_step}"
            raise RefusedError(FailCode.CHECKPOINT_WRONG, what)
        self._waiting.append((run, tell, cancelled))

    def measure(self, order: Measure, inputs: Sequence[bytes]) -> Measured:
        """No work takes hardly any time."""
        del inputs
        refuse_bad(order.run)
        return Measured(order.run.attempt, 1, 1, 1, 0, 0, 0, 0)

    def advance(self) -> list[Ended]:
        """All of the attempt that came first."""
        run, tell, cancelled = self._waiting.popleft()
        try:
            self._tell(run, tell, cancelled)
        except RefusedError as err:
            return [(run.attempt, err)]
        return [(run.attempt, None)]

    def _tell(self, run: Run, tell: Tell, cancelled: Callable[[], bool]) -> None:
        """The leaves and the picture, `count` times; of one that is taken up again, the leaves that follow."""
        first_step = run.first_step
        for picture in range(run.first_picture, run.first_picture + run.count):
            leaves = [trace.leaf(first_step, _state(run, picture, first_step))] if first_step else []
            for step in range(first_step + 1 if first_step else 0, run.end_step + 1):
                if cancelled():
                    raise RefusedError(FailCode.CANCELLED, f"cancelled at picture {picture}, step {step}")
                state = _state(run, picture, step)
                if run.trace:
                    tell(State(run.attempt, picture, step, 0, len(state), state))
                leaves.append(trace.leaf(step, state))
                tell(Step(run.attempt, picture, step, leaves[-1]))
            if run.end_step < run.steps:
                return
            tell(OutputChunk(run.attempt, picture, 0, len(PICTURE), PICTURE))
            digest = hashlib.sha256(PICTURE).digest()
            tell(OutputEnd(run.attempt, picture, digest, len(PICTURE), trace.root(leaves), len(leaves)))
            first_step = 0

    def replay(self, order: Replay, inputs: Sequence[bytes]) -> Replayed:
        """Whoever does no work can't judge any."""
        del inputs
        raise RefusedError(FailCode.BAD_REQUEST, f"the null worker can't do step {order.step} again")


def _state(run: Run, picture: int, step: int) -> bytes:
    return hashlib.sha256(seed_of(run, picture).to_bytes(8, "big") + step.to_bytes(4, "big")).digest()


if __name__ == "__main__":
    main(NullEngine)
