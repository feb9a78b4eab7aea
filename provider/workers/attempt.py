"""Checks one attempt's frames as they come. Rule: a worker's every claim is recomputed or refused. Does no I/O.

The order it holds a worker to: Accepting; then for each picture its steps from 0, a preview only where one is due, the
picture's bytes without gap, and its end; then Done. Failed may come at any time after Accepting.
"""

from __future__ import annotations

import hashlib

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
    Step,
)
from gpufair.protocol.limits import KIB, OUTPUT_MAX
from gpufair.provider.workers.outcome import Event, Failure, LieError, PictureResult, WorkerFailedError

PNG = b"\x89PNG\r\n\x1a\n"
CHANNELS = 4


class Attempt:
    """The conversation about one Run. `profile` goes into the results."""

    def __init__(self, run: Run, profile: bytes) -> None:
        self._run, self._profile = run, profile
        self._accepted = False
        self._picture = run.first_picture
        self._end = run.first_picture + run.count
        self._leaves: list[bytes] = []
        self._previewed = 0
        self._data = bytearray()
        self._total = 0
        self.finished = False
        self.failure: WorkerFailedError | None = None

    def take(self, frame: FromWorker) -> Event | None:
        """Check the next frame; the event it makes, if any. `LieError` when it can't be honest."""
        if getattr(frame, "attempt", None) != self._run.attempt:
            raise LieError(f"a {type(frame).__name__} frame that belongs to no attempt under way")
        if isinstance(frame, Accepting):
            _hold(not self._accepted, "it accepts an attempt twice")
            self._accepted = True
            return frame
        _hold(self._accepted, f"a {type(frame).__name__} frame before the attempt was accepted")
        match frame:
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
                _hold(self._picture == self._end, f"it is done after {self._picture} of {self._end} pictures")
                self.finished = True
        return None

    def _step(self, step: Step) -> Step:
        self._current(step.picture)
        _hold(not self._total, "a step after the picture's bytes began")
        _hold(step.step == len(self._leaves), f"step {step.step} came where step {len(self._leaves)} was due")
        _hold(step.step <= self._run.steps, f"step {step.step} of {self._run.steps}")
        self._leaves.append(step.leaf)
        return step

    def _preview(self, preview: Preview) -> Preview:
        self._current(preview.picture)
        every, last = self._run.preview_every, len(self._leaves) - 1
        due = every > 0 and preview.step > 0 and preview.step % every == 0 and 4 * preview.step <= 3 * self._run.steps
        _hold(due and self._previewed < preview.step <= last, f"a preview of step {preview.step} was not asked for")
        _hold(preview.png.startswith(PNG), "a preview that is no PNG")
        self._previewed = preview.step
        return preview

    def _chunk(self, chunk: OutputChunk) -> None:
        self._current(chunk.picture)
        _hold(len(self._leaves) == self._run.steps + 1, f"a picture after {len(self._leaves) - 1} steps")
        if not self._total:
            _hold(chunk.total <= self._largest(), f"a picture of {chunk.total} bytes, it can't have that many")
            self._total = chunk.total
        _hold(chunk.total == self._total, "the picture's length changes while it is sent")
        _hold(chunk.offset == len(self._data), f"bytes from {chunk.offset}, {len(self._data)} are here")
        _hold(len(self._data) + len(chunk.data) <= self._total, "more bytes than it said the picture has")
        self._data += chunk.data

    def _whole(self, end: OutputEnd) -> PictureResult:
        self._current(end.picture)
        png, leaves = bytes(self._data), tuple(self._leaves)
        _hold(len(png) == self._total == end.length, f"{len(png)} bytes of a picture that has {end.length}")
        _hold(png.startswith(PNG), "a picture that is no PNG")
        _hold(hashlib.sha256(png).digest() == end.sha256, "the picture's digest is not the one it states")
        _hold(end.leaf_count == len(leaves), f"{end.leaf_count} leaves stated, {len(leaves)} sent")
        _hold(trace.root(leaves) == end.trace_root, "the trace's root is not over the leaves it sent")
        result = PictureResult(self._picture, png, end.sha256, end.trace_root, end.leaf_count, leaves, self._profile)
        self._picture += 1
        self._leaves, self._data, self._total, self._previewed = [], bytearray(), 0, 0
        return result

    def _current(self, picture: int) -> None:
        _hold(picture == self._picture < self._end, f"picture {picture} where picture {self._picture} was due")

    def _largest(self) -> int:
        """An upper bound for a PNG of the size asked for: raw pixels, a filter byte a row, and room for its frame."""
        raw = self._run.width * self._run.height * CHANNELS + self._run.height
        return min(OUTPUT_MAX, raw + raw // 1000 + 64 * KIB)


def _hold(truth: bool, otherwise: str) -> None:  # noqa: FBT001 -- it reads as a sentence
    if not truth:
        raise LieError(otherwise)
