"""Checks one attempt's frames as they come. Rule: a worker's every claim is recomputed or refused. Does no I/O.

The order it holds a worker to: Accepting; then for each picture its steps from 0, each after its state where a trace
was asked for, a preview only where one is due, the picture's bytes without gap, and its end; then Done. A run to a step
has its steps alone. Failed may come at any time after Accepting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gpufair.protocol import trace
from gpufair.protocol.frames import (
    Accepting,
    Done,
    Failed,
    FromWorker,
    OutputChunk,
    OutputEnd,
    Preview,
    Run,
    RuntimeProfile,
    State,
    Step,
)
from gpufair.protocol.limits import KIB, OUTPUT_MAX, STATE_PIXEL_BYTES
from gpufair.provider.workers.outcome import Event, Failure, LieError, PictureResult, Taken, WorkerFailedError

PNG = b"\x89PNG\r\n\x1a\n"
CHANNELS = 4


class Attempt:
    """The conversation about one Run.

    `before` are leaves of the first picture that the worker will not tell, as far back as its caller wants them in the
    result: the last of them is that of the run's first step.
    """

    def __init__(self, run: Run, runtime: RuntimeProfile, before: Sequence[bytes] = ()) -> None:
        if bool(before) != bool(run.first_step) or len(before) > run.first_step + 1:
            raise ValueError(f"{len(before)} leaves for a run that goes on after step {run.first_step}")
        self._run, self._runtime = run, runtime
        self._accepted = False
        self._picture = run.first_picture
        self._end = run.first_picture + run.count
        self._leaves = list(before)
        self._begun = len(before)
        """How many leaves of the picture at hand this worker has not told."""
        self._base = run.first_step + 1 - len(before) if before else 0
        """The step of the first of them."""
        self._state: _State | None = None
        self._previewed = 0
        self._data = bytearray()
        self._total = 0
        self.finished = False
        self.failure: WorkerFailedError | None = None

    def take(self, frame: FromWorker) -> Event | None:
        """Check the next frame; the event it makes, if any. `LieError` when it can't be honest."""
        if isinstance(frame, Accepting):
            hold(not self._accepted, "it accepts an attempt twice")
            self._accepted = True
            return Taken(frame.attempt, self._runtime)
        hold(self._accepted, f"a {type(frame).__name__} frame before the attempt was accepted")
        match frame:
            case State():
                return self._piece(frame)
            case Step():
                return self._step(frame)
            case Preview():
                return self._preview(frame)
            case OutputEnd():
                return self._whole(frame)
            case OutputChunk():
                self._chunk(frame)
            case Failed():
                self.failure = WorkerFailedError(Failure(frame.code), frame.message)
                self.finished = True
            case Done():
                self._done()
                self.finished = True
            case other:
                raise LieError(f"a {type(other).__name__} frame about an attempt")
        return None

    @property
    def _due_step(self) -> int:
        """The step whose leaf comes next."""
        return self._base + len(self._leaves)

    def _done(self) -> None:
        if self._run.end_step == self._run.steps:
            hold(self._picture == self._end, f"it is done after {self._picture} of {self._end} pictures")
            return
        last = self._due_step - 1
        hold(last == self._run.end_step, f"it is done after step {last}, it was to go to step {self._run.end_step}")
        hold(self._state is None, "it is done in the middle of a state")

    def _piece(self, piece: State) -> State:
        hold(self._run.trace, "a state that was not asked for")
        self._due(piece)
        if self._state is None:
            most = STATE_PIXEL_BYTES * self._run.width * self._run.height
            hold(piece.total <= most, f"a state of {piece.total} bytes, this picture can have {most}")
            self._state = _State(piece)
        self._state.add(piece)
        return piece

    def _step(self, step: Step) -> Step:
        self._due(step)
        if self._run.trace:
            hold(self._state is not None and self._state.is_whole, f"step {step.step} came without its whole state")
            hold(self._state is None or self._state.leaf == step.leaf, f"leaf {step.step} is not that of its state")
            self._state = None
        self._leaves.append(step.leaf)
        return step

    def _due(self, said: State | Step) -> None:
        self._current(said.picture)
        hold(not self._total, "a step after the picture's bytes began")
        hold(said.step == self._due_step, f"step {said.step} came where step {self._due_step} was due")
        hold(said.step <= self._run.end_step, f"step {said.step} of {self._run.end_step}")

    def _preview(self, preview: Preview) -> Preview:
        self._current(preview.picture)
        every, last = self._run.preview_every, self._due_step - 1
        due = every > 0 and preview.step > 0 and preview.step % every == 0 and 4 * preview.step <= 3 * self._run.steps
        hold(due and self._previewed < preview.step <= last, f"a preview of step {preview.step} was not asked for")
        hold(preview.png.startswith(PNG), "a preview that is no PNG")
        self._previewed = preview.step
        return preview

    def _chunk(self, chunk: OutputChunk) -> None:
        self._current(chunk.picture)
        hold(self._state is None, "a picture in the middle of a state")
        hold(self._due_step == self._run.steps + 1, f"a picture after {self._due_step - 1} steps")
        if not self._total:
            hold(chunk.total <= self._largest(), f"a picture of {chunk.total} bytes, it can't have that many")
            self._total = chunk.total
        hold(chunk.total == self._total, "the picture's length changes while it is sent")
        hold(chunk.offset == len(self._data), f"bytes from {chunk.offset}, {len(self._data)} are here")
        hold(len(self._data) + len(chunk.data) <= self._total, "more bytes than it said the picture has")
        self._data += chunk.data

    def _whole(self, end: OutputEnd) -> PictureResult:
        self._current(end.picture)
        png, leaves = bytes(self._data), tuple(self._leaves)
        # A worker that goes on from a state knows the leaf of that one, and none before.
        told = leaves[max(0, self._begun - 1) :]
        hold(len(png) == self._total == end.length, f"{len(png)} bytes of a picture that has {end.length}")
        hold(png.startswith(PNG), "a picture that is no PNG")
        hold(hashlib.sha256(png).digest() == end.sha256, "the picture's digest is not the one it states")
        hold(end.leaf_count == len(told), f"{end.leaf_count} leaves stated, {len(told)} sent")
        root = trace.root(told)
        hold(root == end.trace_root, "the trace's root is not over the leaves it sent")
        root = trace.root(leaves) if self._begun else root
        profile = self._runtime.digest()
        result = PictureResult(self._picture, png, end.sha256, root, len(leaves), leaves, profile, self._runtime)
        self._picture += 1
        self._leaves, self._begun, self._base = [], 0, 0
        self._data, self._total, self._previewed = bytearray(), 0, 0
        return result

    def _current(self, picture: int) -> None:
        hold(picture == self._picture < self._end, f"picture {picture} where picture {self._picture} was due")

    def _largest(self) -> int:
        """An upper bound for a PNG of the size asked for: raw pixels, a filter byte a row, and room for its frame."""
        raw = self._run.width * self._run.height * CHANNELS + self._run.height
        return min(OUTPUT_MAX, raw + raw // 1000 + 64 * KIB)


class _State:
    """A state on its way in: not kept here, only hashed."""

    def __init__(self, first: State) -> None:
        self._total, self._got = first.total, 0
        self._hash = trace.hasher(first.step)
        hold(first.total % 4 == 0, f"a state of {first.total} bytes is no 32-bit floats")

    def add(self, piece: State) -> None:
        """The next piece."""
        hold(piece.total == self._total, "a state's length changes while it is sent")
        hold(piece.offset == self._got, f"a state's bytes from {piece.offset}, {self._got} are here")
        self._got += len(piece.data)
        hold(self._got <= self._total, "more bytes than it said the state has")
        self._hash.update(piece.data)

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return self._got == self._total

    @property
    def leaf(self) -> bytes:
        """The leaf that commits to it."""
        return self._hash.digest()


def hold(truth: bool, otherwise: str) -> None:  # noqa: FBT001 -- it reads as a sentence
    """`LieError` unless it is true."""
    if not truth:
        raise LieError(otherwise)
