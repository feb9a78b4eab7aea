"""The worker codec: bytes to frames and back, and who may send how much. Rule: it decides, it never touches a pipe.

Other modules take every frame type from here. Generated code stays inside this file.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, get_args

from google.protobuf.message import DecodeError

from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.frame_answers import (
    Accepting,
    Done,
    FailCode,
    Failed,
    Loaded,
    LoadFailed,
    Measured,
    OutputChunk,
    OutputEnd,
    Preview,
    Ready,
    Replayed,
    RuntimeProfile,
    State,
    Step,
)
from gpufair.protocol.frame_fields import check, fill, read
from gpufair.protocol.frame_orders import (
    ADAPTER,
    IMAGE,
    IMAGE_TO_IMAGE,
    INPAINT,
    MASK,
    MODEL,
    PICTURE,
    STATE,
    TEXT_TO_IMAGE,
    Adapter,
    Cancel,
    Hello,
    Input,
    InputRef,
    Load,
    Measure,
    Replay,
    Run,
    Stop,
)
from gpufair.protocol.frame_types import VERSION, Credit, Frame, FromWorker, ToWorker
from gpufair.protocol.limits import FRAME_CREDIT, FRAME_MAX
from gpufair.protocol.v1 import frames_pb2 as pb

__all__ = [
    "ADAPTER", "IMAGE", "IMAGE_TO_IMAGE", "INPAINT", "MASK", "MODEL", "PICTURE", "STATE", "TEXT_TO_IMAGE",
    "VERSION", "Accepting", "Adapter", "Cancel", "Credit", "Done", "FailCode", "Failed", "Frame", "FrameDecoder",
    "FrameLink", "FromWorker", "Hello", "Input", "InputRef", "Load", "LoadFailed", "Loaded", "Measure", "Measured",
    "OutputChunk", "OutputEnd", "Preview", "Ready", "Replay", "Replayed", "Run", "RuntimeProfile", "State", "Step",
    "Stop", "ToWorker", "decode", "encode",
]  # fmt: skip

PREFIX: Final = 4
"""Bytes of the length before each frame: unsigned, big-endian."""

KIND: Final[dict[type, str]] = {
    Hello: "hello", Load: "load", Run: "run", Cancel: "cancel", Stop: "stop", Credit: "credit", Ready: "ready",
    Loaded: "loaded", LoadFailed: "load_failed", Accepting: "accepting", Step: "step", Preview: "preview",
    OutputChunk: "output_chunk", OutputEnd: "output_end", Done: "done", Failed: "failed", Input: "input",
    Replay: "replay", Measure: "measure", State: "state", Replayed: "replayed", Measured: "measured",
}  # fmt: skip
TYPE: Final[dict[str, Any]] = {name: kind for kind, name in KIND.items()}


def encode(frame: Frame) -> bytes:
    """The frame as it goes on the pipe, length prefix included. `LocalError` if it breaks one of its own bounds."""
    try:
        check(frame)
        box = pb.Frame()
        fill(getattr(box, KIND[type(frame)]), frame)
        payload = box.SerializeToString()
    except (ValueError, TypeError) as err:
        raise LocalError(Fault.INTERNAL, f"a frame of ours is not sendable: {err}") from err
    if PREFIX + len(payload) > FRAME_MAX:
        raise LocalError(Fault.TOO_LARGE, f"a frame of ours has {len(payload)} bytes, the limit is {FRAME_MAX}")
    return len(payload).to_bytes(PREFIX, "big") + payload


def decode(payload: bytes) -> Frame:
    """One frame from its bytes, without the prefix. `PeerError` for anything that isn't a known frame within bounds."""
    box = pb.Frame()
    try:
        box.ParseFromString(payload)
    except DecodeError as err:
        raise PeerError(Fault.MALFORMED, "a frame is not valid protobuf") from err
    name = box.WhichOneof("kind")
    if name is None:
        raise PeerError(Fault.UNKNOWN, "a frame of unknown kind")
    try:
        frame: Frame = read(TYPE[name], getattr(box, name))
        check(frame)
    except ValueError as err:
        raise PeerError(Fault.MALFORMED, f"a {name} frame is out of bounds: {err}") from err
    return frame


class FrameDecoder:
    """Cuts a stream of bytes into frames. Never holds more than one frame and what was fed last.

    After an error the stream can't be trusted: every further call raises the same error.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken: PeerError | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order. `PeerError` on an oversized, unknown or malformed frame."""
        return [frame for frame, _size in self.feed_sized(data)]

    def feed_sized(self, data: bytes) -> list[tuple[Frame, int]]:
        """As `feed`, each frame with its encoded size in bytes, prefix included."""
        if self._broken is not None:
            raise self._broken
        self._buffer += data
        try:
            return self._cut()
        except PeerError as err:
            self._broken = err
            self._buffer.clear()
            raise

    def eof(self) -> None:
        """To be called at the end of the stream: `PeerError` if it ends inside a frame."""
        if self._buffer:
            raise PeerError(Fault.MALFORMED, f"the stream ends inside a frame, after {len(self._buffer)} bytes of it")

    def _cut(self) -> list[tuple[Frame, int]]:
        found: list[tuple[Frame, int]] = []
        start = 0
        while len(self._buffer) - start >= PREFIX:
            end = start + PREFIX + int.from_bytes(self._buffer[start : start + PREFIX], "big")
            if end - start > FRAME_MAX:
                raise PeerError(Fault.TOO_LARGE, f"a frame of {end - start} bytes, the limit is {FRAME_MAX}")
            if end > len(self._buffer):
                break
            found.append((decode(bytes(self._buffer[start + PREFIX : end])), end - start))
            start = end
        del self._buffer[:start]
        return found


class FrameLink:
    """One end of a worker's pipe: what to write now, what has arrived, and the credit both ways. Not thread-safe.

    The owner loops: `feed` what it read, handle each frame, call `consumed` for it, write `outgoing`. At most
    `FRAME_CREDIT` bytes are ever on their way to either side, because a pipe that holds 64 KiB can stall for good.
    """

    def __init__(self, accepts: tuple[type, ...]) -> None:
        self._accepts = accepts
        self._decoder = FrameDecoder()
        self._queue: deque[bytes] = deque()
        self._window = FRAME_CREDIT
        self._delivered: deque[int] = deque()
        self._unpaid = 0
        self._owed = 0

    @classmethod
    def of_node(cls) -> FrameLink:
        """The node's end: accepts what workers say."""
        return cls(get_args(FromWorker))

    @classmethod
    def of_worker(cls) -> FrameLink:
        """The worker's end: accepts what nodes say."""
        return cls(get_args(ToWorker))

    @property
    def waiting(self) -> int:
        """Frames given to `send` that `outgoing` has not handed out yet, for want of credit or of a call."""
        return len(self._queue)

    def send(self, frame: Frame) -> None:
        """Queue a frame. `LocalError` if it breaks its bounds; then nothing is queued."""
        self._queue.append(encode(frame))

    def outgoing(self) -> bytes:
        """Bytes to write now, all of them: credit first, then queued frames as far as the window goes."""
        out = bytearray()
        if self._owed:
            out += encode(Credit(self._owed))
            self._unpaid -= self._owed
            self._owed = 0
        while self._queue and len(self._queue[0]) <= self._window:
            frame = self._queue.popleft()
            self._window -= len(frame)
            out += frame
        return bytes(out)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes; credit is taken in, not returned. `PeerError` if the peer breaks a rule."""
        return [frame for frame, size in self._decoder.feed_sized(data) if self._admit(frame, size)]

    def consumed(self, frames: int = 1) -> None:
        """The oldest `frames` that `feed` returned are done with: the next `outgoing` gives their bytes back."""
        for _ in range(frames):
            self._owed += self._delivered.popleft()

    def eof(self) -> None:
        """To be called at the end of the stream: `PeerError` if it ends inside a frame."""
        self._decoder.eof()

    def _admit(self, frame: Frame, size: int) -> bool:
        if isinstance(frame, Credit):
            self._window += frame.size
            if self._window > FRAME_CREDIT:
                raise PeerError(Fault.LIMIT, "the peer gives back more credit than it was sent bytes")
            return False
        if not isinstance(frame, self._accepts):
            raise PeerError(Fault.WRONG_TYPE, f"a {type(frame).__name__} frame from the wrong side")
        self._unpaid += size
        if self._unpaid > FRAME_CREDIT:
            raise PeerError(Fault.LIMIT, f"the peer sent {self._unpaid} bytes with a credit of {FRAME_CREDIT}")
        self._delivered.append(size)
        return True
