"""The traces of delivered pictures, on disk. Rule: a trace is written as it comes; one that can't be costs no picture.

    <root>/<until ms>-<lease>-<job>-<picture>.trace   a whole one: states one after another, an index, its length (u32)
    <root>/<attempt>-<picture>.part                   one in the making; what a crash left is swept at the start

Latents show the picture, so nobody but the owner may read here. A power cut may cost the traces of the last seconds:
an audit finds them gone, or damaged, and never other than the worker told them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from gpufair.protocol import limits, trace
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.frames import RuntimeProfile, State

log = logging.getLogger(__name__)

NAME: Final = re.compile(r"(\d{1,20})-([0-9a-f]{64})-([0-9a-f]{32})-(\d{1,3})\.trace")
PART: Final = ".part"
LENGTH_BYTES = 4
BUFFER = 256 * limits.KIB

Key = tuple[bytes, bytes, int]
"""Lease, job, picture."""


@dataclass(frozen=True, slots=True)
class KeptTrace:
    """The trace of one picture, from the state after `first` steps on. `ends`: where in the file each state ends."""

    path: Path
    leaves: tuple[bytes, ...]
    profile: RuntimeProfile
    ends: tuple[int, ...]
    first: int = 0

    def state(self, place: int) -> bytes:
        """The bytes that leaf number `place` commits to. `LocalError` if they have gone or are damaged."""
        start = self.ends[place - 1] if place else 0
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                data = file.read(self.ends[place] - start)
        except OSError as error:
            raise LocalError(Fault.UNAVAILABLE, f"the trace {self.path.name} can't be read: {error}") from error
        step = self.first + place
        if not data or trace.leaf(step, data) != self.leaves[place]:
            raise LocalError(Fault.UNAVAILABLE, f"state {step} of the trace {self.path.name} is damaged")
        return data


class Traces:
    """A bounded store: the oldest make room. 0 bytes keep nothing."""

    def __init__(self, root: Path, bytes_max: int = limits.TRACES_BYTES_MAX) -> None:
        self._root, self._most = root, bytes_max
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in root.glob(f"*{PART}"):
            left.unlink(missing_ok=True)
        self._kept: dict[Key, tuple[Path, int]] = {}
        """Where each lies and how large it is, the oldest first."""
        for path in sorted(root.glob("*.trace"), key=_until):
            if (name := NAME.fullmatch(path.name)) is not None:
                key = bytes.fromhex(name[2]), bytes.fromhex(name[3]), int(name[4])
                self._kept[key] = path, path.stat().st_size
        self._size = sum(size for _, size in self._kept.values())
        self.make_room(0)

    @property
    def size(self) -> int:
        """Bytes in use."""
        return self._size

    def open(self, lease: bytes, job: bytes, picture: int) -> KeptTrace | None:
        """The trace of a picture; None if it is not kept, or not any more."""
        path, _ = self._kept.get((lease, job, picture), (None, 0))
        if path is None:
            return None
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the trace %s can't be read: %s", path.name, error)
            return None

    @contextlib.contextmanager
    def begin(self, attempt: bytes, picture: int, first: int = 0) -> Iterator[Writing]:
        """Write a trace, from the state after `first` steps on. What is not kept by the end of this is dropped."""
        writing = Writing(self, self._root / f"{attempt.hex()}-{picture}{PART}", first)
        try:
            yield writing
        finally:
            writing.drop()

    def forget(self, now_ms: int) -> None:
        """Drop what nobody may ask for any more."""
        for key, (path, _) in list(self._kept.items()):
            if _until(path) < now_ms:
                self.drop(key)

    def make_room(self, size: int) -> None:
        """See that `size` more bytes fit in. `OSError` if they can't, whatever is dropped."""
        while self._size + size > self._most:
            if not self._kept:
                raise OSError(f"a trace has no room in {self._most} bytes")
            self.drop(next(iter(self._kept)))
        self._size += size

    def give_back(self, size: int) -> None:
        """So many bytes were not needed, or have gone."""
        self._size -= size

    def place(self, part: Path, key: Key, until_ms: int, size: int) -> None:
        """Keep a whole trace under its name."""
        if key in self._kept:
            self.drop(key)
        lease, job, picture = key
        target = self._root / f"{until_ms}-{lease.hex()}-{job.hex()}-{picture}.trace"
        part.rename(target)
        self._kept[key] = target, size

    def drop(self, key: Key) -> None:
        """Delete a trace, if it is kept."""
        path, size = self._kept.pop(key, (None, 0))
        self._size -= size
        if path is not None:
            path.unlink(missing_ok=True)


class Writing:
    """A trace in the making. It never raises: what goes wrong is logged once, and the trace is not kept."""

    def __init__(self, traces: Traces, part: Path, first: int) -> None:
        self._traces, self._part, self._first = traces, part, first
        self._starts: list[int] = []
        """Where each state begins."""
        self._size = self._reserved = 0
        self._file: BinaryIO | None = None
        """Opened when the first state comes: whoever waits for the first step does not wait for a disk."""
        self._done = False

    def write(self, piece: State) -> None:
        """The next piece of a state. The first of one that was begun before, by a worker that is lost, replaces it."""
        if self._done:
            return
        try:
            if not piece.offset:
                self._begin(piece.step)
            self._add(piece.data)
        except OSError as error:
            self._lose(error)

    def keep(self, key: Key, leaves: Sequence[bytes], runtime: RuntimeProfile, until_ms: int) -> None:
        """The picture is whole: what was written is its trace."""
        if self._done:
            return
        ends = [*self._starts[1:], self._size]
        states = [(end, leaf.hex()) for end, leaf in zip(ends, leaves, strict=False)]
        index = json.dumps({"profile": asdict(runtime), "states": states, "first": self._first}).encode()
        if len(self._starts) != len(leaves):
            self._lose(f"{len(self._starts)} states came for {len(leaves)} leaves")
            return
        try:
            self._add(index + len(index).to_bytes(LENGTH_BYTES, "big"))
            self._opened().close()
            self._traces.give_back(self._reserved - self._size)
            self._reserved = self._size
            self._traces.place(self._part, key, until_ms, self._size)
        except OSError as error:
            self._lose(error)
        else:
            self._done = True

    def drop(self) -> None:
        """Delete what was written, unless it is kept."""
        if self._done:
            return
        self._done = True
        self._traces.give_back(self._reserved)
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _lose(self, why: object) -> None:
        _lost(self._part, why)
        self.drop()

    def _begin(self, step: int) -> None:
        place = step - self._first
        if place < len(self._starts):
            self._size = self._starts[place]
            del self._starts[place:]
            self._opened().seek(self._size)
            self._opened().truncate()
        self._starts.append(self._size)

    def _add(self, data: bytes) -> None:
        if (more := self._size + len(data) - self._reserved) > 0:
            self._traces.make_room(more)
            self._reserved += more
        self._opened().write(data)
        self._size += len(data)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(handle, "wb", buffering=BUFFER)
        return self._file


def _read(path: Path) -> KeptTrace:
    with path.open("rb") as file:
        size = file.seek(-LENGTH_BYTES, os.SEEK_END)
        length = int.from_bytes(file.read(LENGTH_BYTES), "big")
        file.seek(size - length)
        index: Any = json.loads(file.read(length))
    profile = index["profile"]
    ends = tuple(end for end, _ in index["states"])
    if ends[-1] != size - length:
        raise ValueError("its index is that of another")
    runtime = RuntimeProfile(**{**profile, "flags": tuple(profile["flags"])})
    leaves = tuple(bytes.fromhex(leaf) for _, leaf in index["states"])
    return KeptTrace(path, leaves, runtime, ends, index.get("first", 0))


def _until(path: Path) -> int:
    return int(path.name.split("-")[0]) if NAME.fullmatch(path.name) else 0


def _lost(part: Path, why: object) -> None:
    log.warning("the trace %s is not kept, an audit of that picture will find none: %s", part.name, why)
