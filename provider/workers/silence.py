"""Notices when a worker says nothing. Rule: silence counts while something is due and we listen, and only then.

A worker that nobody asked for anything may be silent for ever, and so may one that waits because we don't take what it
says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from gpufair.protocol import limits

LOOKS = 8
"""How often silence is looked for in the shortest time that is too long."""


class Silence:
    """The silence of one worker. `patience` says how many ms are allowed now, None while nothing is due."""

    def __init__(self, patience: Callable[[], int | None], fall: Callable[[int], object], shortest_ms: int) -> None:
        self._patience, self._fall = patience, fall
        self._pause = shortest_ms / limits.SECOND / LOOKS
        self._heard = 0.0
        self._listening = False
        self._timer: asyncio.TimerHandle | None = None

    def expect(self) -> None:
        """Something is due from now on."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._heard = loop.time()
            self._timer = loop.call_later(self._pause, self._look)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While this lasts, the worker could say something."""
        self._heard, self._listening = asyncio.get_running_loop().time(), True
        try:
            yield
        finally:
            self._listening = False

    def end(self) -> None:
        """Nothing is due any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        patience_ms = self._patience()
        if patience_ms is None:
            return
        loop = asyncio.get_running_loop()
        if self._listening and loop.time() - self._heard >= patience_ms / limits.SECOND:
            self._fall(patience_ms)
        else:
            self._timer = loop.call_later(self._pause, self._look)
