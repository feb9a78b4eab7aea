"""A call that is held where it says so. Rule: of the call and its caller one runs and the other waits, never both.

The call has a thread of its own for its stack alone: it goes on when its caller waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch


class _EndedError(BaseException):
    """Unwinds a call that nobody wants any more; no library catches it."""


class Held:
    """A call in the making. Whoever has one must call `end` at last."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._go, self._came = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._is_over = self._is_unwanted = False
        self._value: Any = None
        self._error: Exception | None = None

    def go_on(self) -> Any:
        """What the call has at the next place where it is held. Its exception, should it end in one before."""
        if self._is_over:
            raise RuntimeError("a call that is over was to go on")
        self._run()
        if self._is_over and self._error is None:
            raise RuntimeError("the call ended where it was to be held")
        return self._value

    def finish(self) -> Any:
        """What the call returns."""
        self._run()
        if not self._is_over:
            raise RuntimeError("the call was held where it was to end")
        return self._value

    def hold(self, value: Any) -> None:
        """Within the call: hand over a value, and wait to go on."""
        self._value = value
        self._came.release()
        self._go.acquire()
        if self._is_unwanted:
            raise _EndedError

    def end(self) -> None:
        """Unwind the call, if it is not over."""
        self._is_unwanted = True
        if self._thread is not None and not self._is_over:
            self._go.release()
            self._thread.join()

    def _run(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._body, name="held call", daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._came.acquire()
        if self._error is not None:
            raise self._error

    def _body(self) -> None:
        try:
            with torch.no_grad():
                self._value = self._call()
        except _EndedError:
            return
        except Exception as err:
            self._error = err
        finally:
            self._is_over = True
            self._came.release()
