"""Ctrl-C while something is bought. Rule: the first one asks for an orderly end, the second one leaves at once.

At a question nothing is under way yet, so that there the first one leaves at once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt right here: for a question that blocks the loop.

    The loop's own handler would only cancel the task, which can't notice before the question is answered.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def stop_asked(say: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that Ctrl-C or SIGTERM sets, `say` being called then; a second one raises KeyboardInterrupt here."""
    loop, task, stop = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    insisted = False

    def asked() -> None:
        nonlocal insisted
        if not stop.is_set():
            stop.set()
            say()
        elif task is not None:
            insisted = True
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, asked)
    try:
        yield stop
    except asyncio.CancelledError:
        if insisted:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
