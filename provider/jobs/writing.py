"""Traces in the making, on disk. Rule: a state is whole in its file before anybody hears of its step.

    u32 0, the runtime profile's digest    whenever a worker takes it up that has another than the one before
    u32 length, state                      once a state, in step order
    index, u32 length                      at the end of one that is whole

So a node that was killed finds there all that it had told, and goes on from the last state.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from gpufair.protocol import limits, trace
from gpufair.protocol.frames import RuntimeProfile, State

log = logging.getLogger(__name__)

LENGTH_BYTES = 4
NO_STATE = bytes(LENGTH_BYTES)
BUFFER = 256 * limits.KIB

Key = tuple[bytes, bytes, int]
"""Lease, job, picture."""


class Room(Protocol):
    """Where traces lie, within a bound."""

    def make_room(self, size: int) -> None:
        """See that `size` more bytes fit in. `OSError` if they can't, whatever is dropped."""
        ...

    def give_back(self, size: int) -> None:
        """So many bytes were not needed, or have gone."""
        ...

    def place(self, part: Path, key: Key, until_ms: int, size: int) -> None:
        """Keep a whole trace under its name."""
        ...


@dataclass(frozen=True, slots=True)
class Left:
    """How far an earlier run of the node had come: the state after `step` steps, the leaves up to it, the profile."""

    step: int
    state: bytes
    leaves: tuple[bytes, ...]
    profile: bytes = b""


class Writing:
    """A trace in the making. It never raises: what goes wrong is logged once, and the trace is not kept."""

    def __init__(self, room: Room, part: Path, first: int, *, is_left: bool) -> None:
        self._room, self._part, self._first, self._is_left = room, part, first, is_left
        self._spans: list[tuple[int, int]] = []
        """Where each state lies."""
        self._size = self._reserved = 0
        self._profile = b""
        self._file: BinaryIO | None = None
        """Opened when the first state comes: whoever waits for the first step does not wait for a disk."""
        self._done = False

    def take_up(self, last: int) -> Left | None:
        """Go on with what an earlier run has written, up to the state after `last` steps; None if there is nothing."""
        if not self._is_left:
            return None
        try:
            return self._taken(last)
        except OSError as error:
            self._lose(error)
            return None

    def ran_on(self, profile: bytes) -> None:
        """What follows is made by a worker of this runtime profile."""
        if self._done or profile == self._profile:
            return
        try:
            self._add(NO_STATE + profile)
        except OSError as error:
            self._lose(error)
        self._profile = profile

    def write(self, piece: State) -> None:
        """The next piece of a state. The first of one that was begun before, by a worker that is lost, replaces it."""
        if self._done:
            return
        try:
            if not piece.offset:
                self._begin(piece)
            self._add(piece.data)
            if piece.offset + len(piece.data) == piece.total:
                self._opened().flush()
        except OSError as error:
            self._lose(error)

    def keep(self, key: Key, leaves: Sequence[bytes], runtime: RuntimeProfile, until_ms: int) -> None:
        """The picture is whole: what was written is its trace."""
        if self._done:
            return
        states = [(*span, leaf.hex()) for span, leaf in zip(self._spans, leaves, strict=False)]
        index = json.dumps({"profile": asdict(runtime), "states": states, "first": self._first}).encode()
        if len(self._spans) != len(leaves):
            self._lose(f"{len(self._spans)} states came for {len(leaves)} leaves")
            return
        try:
            self._add(index + len(index).to_bytes(LENGTH_BYTES, "big"))
            self._opened().close()
            self._room.give_back(self._reserved - self._size)
            self._reserved = self._size
            self._room.place(self._part, key, until_ms, self._size)
        except OSError as error:
            self._lose(error)
        else:
            self._done = True

    def drop(self) -> None:
        """Delete what was written, unless it is kept."""
        if self._done:
            return
        self._done = True
        self._room.give_back(self._reserved)
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._file is not None or self._is_left:
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)

    def _lose(self, why: object) -> None:
        log.warning("the trace %s is not kept, an audit of that picture will find none: %s", self._part.name, why)
        self.drop()

    def _taken(self, last: int) -> Left | None:
        """The whole states of the file, one after another; what comes after them goes."""
        leaves, state = list[bytes](), b""
        with self._part.open("rb") as file:
            while self._first + len(leaves) <= last and (data := self._state(file)):
                state = data
                leaves.append(trace.leaf(self._first + len(leaves), state))
                end = file.tell()
                self._spans.append((end - len(state), end))
        size = self._spans[-1][1] if self._spans else 0
        self._room.make_room(size)
        self._reserved = self._size = size
        handle = os.open(self._part, os.O_WRONLY | os.O_CLOEXEC)
        self._file = os.fdopen(handle, "wb", buffering=BUFFER)
        self._cut(size)
        return Left(self._first + len(leaves) - 1, state, tuple(leaves), self._profile) if leaves else None

    def _state(self, file: BinaryIO) -> bytes:
        """The next state of a file, if it is there whole; and the profile that it was made on."""
        head = file.read(LENGTH_BYTES)
        while head == NO_STATE:
            self._profile = file.read(trace.DIGEST_BYTES)
            head = file.read(LENGTH_BYTES)
        length = int.from_bytes(head, "big")
        if not 0 < length <= limits.STATE_MAX or length % 4:
            return b""
        data = file.read(length)
        return data if len(data) == length else b""

    def _begin(self, piece: State) -> None:
        place = piece.step - self._first
        if place < len(self._spans):
            self._cut(self._spans[place][0] - LENGTH_BYTES)
            del self._spans[place:]
        self._add(piece.total.to_bytes(LENGTH_BYTES, "big"))
        self._spans.append((self._size, self._size + piece.total))

    def _cut(self, size: int) -> None:
        self._size = size
        self._opened().seek(size)
        self._opened().truncate()

    def _add(self, data: bytes) -> None:
        if (more := self._size + len(data) - self._reserved) > 0:
            self._room.make_room(more)
            self._reserved += more
        self._opened().write(data)
        self._size += len(data)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(handle, "wb", buffering=BUFFER)
        return self._file
