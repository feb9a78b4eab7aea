"""Stopping what is under way. Rule: who asks to stop gets an orderly end, within a time that is known.

`stop` is set by whoever wants it: the command line at the first Ctrl-C. A cancelled task, by contrast, just ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gpufair.client.failures import StoppedError

R = TypeVar("R")

STOP_S = 15.0
"""How long a provider may take to end a job that we cancel."""


async def unless(stop: asyncio.Event | None, work: Coroutine[Any, Any, R]) -> R:
    """Do the work. Raises StoppedError, the work being cancelled, once `stop` is set."""
    if stop is None:
        return await work
    doing, asked = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((doing, asked), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise StoppedError("stopped before a job was ordered", hint="nothing was spent")
    finally:
        asked.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.wait((doing,))


@contextmanager
def stopping(
    stop: asyncio.Event | None, polite: Callable[[], Awaitable[None]], limit: asyncio.Timeout
) -> Iterator[None]:
    """While the block goes on: once `stop` is set, ask the other side with `polite`, and bring `limit` forward."""
    if stop is None:
        yield
        return

    async def watch() -> None:
        await stop.wait()
        latest = asyncio.get_running_loop().time() + STOP_S
        limit.reschedule(min(limit.when() or latest, latest))
        await polite()

    watching = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watching.cancel()
