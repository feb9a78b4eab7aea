"""Signatures on other cores. Rule: helpers are believed about what they were asked; the rest is checked here.

Checking two signatures is more than half the work of a capture, and Python does one thing at a time. Helper processes
(`helper`) start with the first crowd of orders. One that still starts, died or says nothing costs time, and no answer.
"""

from __future__ import annotations

import contextlib
import marshal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpufair.protocol import identity
from gpufair.protocol.edge.system import monotonic_s
from gpufair.protocol.envelope import Claim
from gpufair.provider.ledger import helper

SILENCE_S = 5.0
"""A helper that keeps us waiting for longer is given up."""
RESTART_S = 5.0
"""The least time between two starts in one helper's place."""


@dataclass(frozen=True, slots=True)
class Found:
    """The claims that helpers found to hold."""

    good: frozenset[Claim] = frozenset()

    def verify(self, did: str, data: bytes, signature: bytes) -> None:
        """`identity.verify`, but for what is known already. Raises the same PeerErrors."""
        if (did, data, signature) not in self.good:
            identity.verify(did, data, signature)


class _Helper:
    """One process, and our end of its socket. Every method raises OSError once the process is no use any more."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        command = [sys.executable, "-P", str(Path(helper.__file__))]  # -P: nothing comes from the working folder
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._line.close)
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)  # noqa: S603 -- fixed
            undo.pop_all()
        self.pid = int(self._process.pid)
        self._line.settimeout(SILENCE_S)
        self._answers = self._line.makefile("rb")
        self.started = False

    def is_ready(self) -> bool:
        """Whether it has started; never waits."""
        if not self.started:
            try:
                self.started = self._line.recv(len(helper.READY), socket.MSG_DONTWAIT) == helper.READY
            except BlockingIOError:
                return False
            if not self.started:
                raise ConnectionError("it ended while it started")
        return self.started

    def ask(self, claims: Sequence[Claim]) -> None:
        """Send claims; several lists may be under way."""
        data = marshal.dumps(list(claims))
        self._line.sendall(len(data).to_bytes(helper.LENGTH_BYTES, "big") + data)

    def answer(self, claims: Sequence[Claim]) -> set[Claim]:
        """Which of the claims that were asked first hold."""
        answers = self._answers.read(len(claims))
        if len(answers) != len(claims):
            raise ConnectionError("it ended")
        return {claim for claim, holds in zip(claims, answers, strict=True) if holds}

    def end(self, wait_s: float = 0) -> None:
        """Close the socket, which ends the process; kill it if that takes too long."""
        self._answers.close()
        self._line.close()
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


Asked = list[tuple[int, _Helper, Sequence[Claim]]]
"""Claims that are being checked elsewhere: in which place, by whom, and which."""


class Verifiers:
    """Up to `processes` helper processes; for one thread. Call `close` when done. `tell` hears why one was given up."""

    def __init__(self, processes: int, tell: Callable[[str], None]) -> None:
        self._helpers: list[_Helper | None] = [None] * processes
        self._next_start_s = [0.0] * processes
        self._tell = tell

    @property
    def pids(self) -> list[int]:
        """The processes that have started."""
        return [one.pid for one in self._helpers if one is not None and one.started]

    def ask(self, claims: Sequence[Claim]) -> Asked:
        """Begin to check claims; empty if no helper is there. Answers are fetched in the order of the questions."""
        ready = [place for place in range(len(self._helpers)) if self._is_ready(place)]
        asked: Asked = []
        for turn, place in enumerate(ready):
            one, part = self._helpers[place], claims[turn :: len(ready)]
            try:
                if one is not None and part:
                    one.ask(part)
                    asked.append((place, one, part))
            except OSError as error:
                self._give_up(place, error)
        return asked

    def answer(self, asked: Asked) -> Found:
        """Wait for what helpers found; of one that fails nothing is known."""
        good: set[Claim] = set()
        for place, one, part in asked:
            try:
                if self._helpers[place] is one:  # it was not given up meanwhile
                    good |= one.answer(part)
            except OSError as error:
                self._give_up(place, error)
        return Found(frozenset(good))

    def close(self) -> None:
        """End the helpers."""
        for one in self._helpers:
            if one is not None:
                one.end(SILENCE_S)
        self._helpers = []

    def _is_ready(self, place: int) -> bool:
        """Whether the helper in this place can be asked; starts one where there is none."""
        try:
            one = self._helpers[place]
            if one is not None:
                return one.is_ready()
            if monotonic_s() >= self._next_start_s[place]:
                self._next_start_s[place] = monotonic_s() + RESTART_S
                self._helpers[place] = _Helper()
        except OSError as error:
            self._give_up(place, error)
        return False

    def _give_up(self, place: int, error: OSError) -> None:
        self._tell(f"a helper that checks signatures is gone ({error})")
        one, self._helpers[place] = self._helpers[place], None
        if one is not None:
            one.end()
