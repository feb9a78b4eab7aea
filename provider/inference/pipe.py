"""The worker's end of its pipe. Rule: only frames leave by the real stdout, and a lost or lying node ends the process.

One thread reads all the time, so that a Cancel and credit get through while the main thread works; only the main
thread writes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from typing import NoReturn, cast

from gpufair.protocol.errors import PeerError
from gpufair.protocol.frames import Cancel, FrameLink, FromWorker, ToWorker

READ_BYTES = 64 * 1024
EXIT_BAD_FRAMES = 2
CANCELS_REMEMBERED = 1024


def claim_stdio() -> tuple[int, int]:
    """Take stdin and stdout for frames alone: a library's print goes to stderr, and its reads find nothing."""
    frames_in, frames_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return frames_in, frames_out


def exit_on_sigterm() -> None:
    """Exit at once on SIGTERM, even as process 1 of a container and deep inside a computation.

    To be called before any thread starts. An interrupt from the terminal is left to the node, which owns this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        os._exit(0)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()


class Pipe:
    """Frames in and out over two file descriptors, blocking, with credit."""

    def __init__(self, frames_in: int, frames_out: int) -> None:
        self._in, self._out = frames_in, frames_out
        self._link = FrameLink.of_worker()
        self._changed = threading.Condition()
        self._arrived: deque[ToWorker] = deque()
        self._cancelled: deque[bytes] = deque(maxlen=CANCELS_REMEMBERED)
        self._taken = False

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="frames", daemon=True).start()

    def receive(self) -> ToWorker:
        """The next frame, waiting for it. The one before it counts as done with, and its bytes are given back."""
        with self._changed:
            self._done_with()
            while not self._arrived:
                self._changed.wait()
            self._taken = True
            return self._arrived.popleft()

    def poll(self) -> ToWorker | None:
        """The next frame if there is one; the one before it counts as done with either way."""
        with self._changed:
            self._done_with()
            if not self._arrived:
                return None
            self._taken = True
            return self._arrived.popleft()

    def send(self, frame: FromWorker) -> None:
        """Write a frame, waiting for credit if need be."""
        with self._changed:
            self._link.send(frame)
            self._flush()
            while self._link.waiting:
                self._changed.wait()
                self._flush()

    def cancelled(self, attempt: bytes) -> bool:
        """Whether the node has asked to end this attempt; true as soon as the Cancel has arrived."""
        with self._changed:
            return attempt in self._cancelled

    def _done_with(self) -> None:
        if self._taken:
            self._link.consumed()
            self._taken = False
        self._flush()

    def _flush(self) -> None:
        data = memoryview(self._link.outgoing())
        while data:
            try:
                data = data[os.write(self._out, data) :]
            except OSError as err:
                leave(EXIT_BAD_FRAMES, f"the node no longer reads: {err}")

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._in, READ_BYTES)
                if not data:
                    self._link.eof()
                    leave(0)
                with self._changed:
                    for frame in cast("list[ToWorker]", self._link.feed(data)):
                        if isinstance(frame, Cancel):
                            self._cancelled.append(frame.attempt)
                        self._arrived.append(frame)
                    self._changed.notify_all()
            except (PeerError, OSError) as err:
                leave(EXIT_BAD_FRAMES, f"the node breaks the worker protocol: {err}")


def leave(status: int, why: str = "") -> NoReturn:
    """End the process at once from any thread, running no clean-up: a worker holds nothing that outlives it."""
    if why:
        sys.stderr.write(f"gpufair worker: {why}\n")
    sys.stderr.flush()
    os._exit(status)
