"""The words that a node and a worker say to each other, all of them. Rule: a frame's type says all of its bounds.

The codec (`frames`) reads the bounds from the annotations, both when it encodes and when it decodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gpufair.protocol import limits
from gpufair.protocol.frame_answers import (
    Accepting,
    Done,
    Failed,
    Loaded,
    LoadFailed,
    Measured,
    OutputChunk,
    OutputEnd,
    Preview,
    Ready,
    Replayed,
    State,
    Step,
)
from gpufair.protocol.frame_bounds import Between
from gpufair.protocol.frame_orders import Cancel, Hello, Input, Load, Measure, Replay, Run, Stop

VERSION = 2
"""Version of the worker protocol, in Hello and Ready."""


@dataclass(frozen=True, slots=True)
class Credit:
    """Either way: `size` bytes of frames are done with and may be sent again. Only `FrameLink` speaks it."""

    size: Annotated[int, Between(1, limits.FRAME_CREDIT)]


ToWorker = Hello | Load | Input | Run | Replay | Measure | Cancel | Stop
FromWorker = (
    Ready
    | Loaded
    | LoadFailed
    | Accepting
    | State
    | Step
    | Preview
    | OutputChunk
    | OutputEnd
    | Done
    | Failed
    | Replayed
    | Measured
)
Frame = ToWorker | FromWorker | Credit
