"""The node's end of a worker's pipe. Rule: a worker can fill one window of ours and no more, until somebody asks again.

A background task reads, so that a death or a lie is known at once; frames wait here, at most `FRAME_CREDIT` bytes of
them, because credit is given back only when the next frame is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Protocol, cast

from gpufair.protocol.errors import Fault, PeerError, printable
from gpufair.protocol.frames import FrameLink, FromWorker, ToWorker
from gpufair.protocol.limits import MIB

LOG_KEPT = 8 * 1024
LOG_FLOOD = 1 * MIB
"""Bytes on stderr between two frames. Who writes more is no worker but a flood that costs the node its processor."""


class BytePipe(Protocol):
    """Bytes to and from a worker, whatever carries them."""

    async def read(self) -> bytes:
        """Some bytes of its stdout, at least one; none at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Hand over all of `data` to its stdin."""
        ...

    def close(self) -> None:
        """Let go of both directions."""
        ...


class LogTail:
    """The end of what a worker wrote to stderr, bounded, and how much came since its last frame."""

    def __init__(self) -> None:
        self._tail = bytearray()
        self._since_frame = 0

    def add(self, data: bytes) -> None:
        """Keep the end of `data`. `PeerError` for a flood."""
        self._tail += data
        del self._tail[:-LOG_KEPT]
        self._since_frame += len(data)
        if self._since_frame > LOG_FLOOD:
            raise PeerError(Fault.LIMIT, f"the worker floods its log: more than {LOG_FLOOD} bytes without a frame")

    def frame_came(self) -> None:
        """Start counting anew."""
        self._since_frame = 0

    def __str__(self) -> str:
        return printable(self._tail.decode(errors="replace"), LOG_KEPT)


class Channel:
    """Frames over a `BytePipe`. One task receives; any may send."""

    def __init__(self, pipe: BytePipe, log: LogTail) -> None:
        self._pipe, self._log = pipe, log
        self._link = FrameLink.of_node()
        self._frames: deque[FromWorker] = deque()
        self._held = False
        self._ended = False
        self._cut = False
        self._fault: PeerError | None = None
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._pump(), name="worker-pipe")

    @property
    def alive(self) -> bool:
        """Whether the pipe still stands, both ways."""
        return not self._ended and not self._cut

    async def send(self, frame: ToWorker) -> None:
        """Queue a frame and write as far as the window goes; the rest follows when the worker gives credit."""
        if not self.alive:
            raise self._fault or PeerError(Fault.UNAVAILABLE, "the worker has ended")
        self._link.send(frame)
        await self._flush()

    async def receive(self) -> FromWorker | None:
        """The next frame, or None at the end. Frames that arrived before a fault are given out before it is raised."""
        if self._held:
            self._held = False
            self._link.consumed()
        if not self._frames:
            # Credit goes back in one piece when all that came is done with: a piece for each frame would cost a write
            # each, and could fill the pipe of a worker that doesn't read.
            await self._flush()
        while not self._frames:
            if self._fault is not None:
                raise self._fault
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        self._held = True
        return self._frames.popleft()

    async def close(self) -> None:
        """Stop reading and let go of the pipe."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        self._pipe.close()

    async def _pump(self) -> None:
        try:
            while data := await self._pipe.read():
                frames = cast("list[FromWorker]", self._link.feed(data))
                if frames:
                    self._log.frame_came()
                    self._frames += frames
                    self._changed.set()
                if self._link.waiting:
                    await self._flush()
            self._link.eof()
        except PeerError as err:
            self._fault = err
        except OSError:
            pass  # a pipe that breaks is an end; who owns the worker looks how it ended
        finally:
            self._ended = True
            self._changed.set()

    async def _flush(self) -> None:
        # Two tasks may have something to say: what the link hands out must reach the pipe in that order.
        async with self._writing:
            data = self._link.outgoing() if self.alive else b""
            if not data:
                return
            try:
                await self._pipe.write(data)
            except OSError:
                # A worker that has ended is the reader's to tell, after all that it said before.
                self._cut = True
            except BaseException:
                # Cancelled half-way through a frame, the pipe can't be used again.
                self._cut = True
                raise
