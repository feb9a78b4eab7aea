"""The traces of delivered pictures, on disk. Rule: a trace is written as it comes; one that can't be costs no picture.

    <root>/<until ms>-<lease>-<job>-<picture>.trace   a whole one: its states (`writing`), an index, its length (u32)
    <root>/<attempt>-<picture>.part                   one in the making; of those that a crash left, the attempts that
                                                      go on take theirs up, and the others are swept

Latents show the picture, so nobody but the owner may read here. A power cut may cost the traces of the last seconds:
an audit finds them gone, or damaged, and never other than the worker told them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpufair.protocol import limits, trace
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.frames import RuntimeProfile
from gpufair.provider.jobs.writing import LENGTH_BYTES, Key, Writing

log = logging.getLogger(__name__)

NAME: Final = re.compile(r"(\d{1,20})-([0-9a-f]{64})-([0-9a-f]{32})-(\d{1,3})\.trace")
PART: Final = ".part"


@dataclass(frozen=True, slots=True)
class KeptTrace:
    """The trace of one picture, from the state after `first` steps on. `spans`: where in the file each state lies."""

    path: Path
    leaves: tuple[bytes, ...]
    profile: RuntimeProfile
    spans: tuple[tuple[int, int], ...]
    first: int = 0

    def state(self, place: int) -> bytes:
        """The bytes that leaf number `place` commits to. `LocalError` if they have gone or are damaged."""
        start, end = self.spans[place]
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                data = file.read(end - start)
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
        self._left = {*root.glob(f"*{PART}")}
        """What an earlier run of the node had in the making."""
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
        part = self._root / f"{attempt.hex()}-{picture}{PART}"
        writing = Writing(self, part, first, is_left=part in self._left)
        self._left.discard(part)
        try:
            yield writing
        finally:
            writing.drop()

    def sweep(self, going: Collection[bytes]) -> None:
        """Drop what an earlier run had in the making, but for the attempts that go on."""
        for part in [part for part in self._left if part.name.partition("-")[0] not in {one.hex() for one in going}]:
            self._left.discard(part)
            part.unlink(missing_ok=True)

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


def _read(path: Path) -> KeptTrace:
    with path.open("rb") as file:
        size = file.seek(-LENGTH_BYTES, os.SEEK_END)
        length = int.from_bytes(file.read(LENGTH_BYTES), "big")
        file.seek(size - length)
        index: Any = json.loads(file.read(length))
    profile, states = index["profile"], index["states"]
    ends = [state[-2] for state in states]
    # Those of a time when no state had a head of its own began where the one before ended.
    starts = [state[0] if len(state) > 2 else before for state, before in zip(states, (0, *ends), strict=False)]
    if ends[-1] != size - length:
        raise ValueError("its index is that of another")
    runtime = RuntimeProfile(**{**profile, "flags": tuple(profile["flags"])})
    leaves = tuple(bytes.fromhex(state[-1]) for state in states)
    return KeptTrace(path, leaves, runtime, tuple(zip(starts, ends, strict=True)), index.get("first", 0))


def _until(path: Path) -> int:
    return int(path.name.split("-")[0]) if NAME.fullmatch(path.name) else 0
