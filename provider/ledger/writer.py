"""Group commit. Rule: one thread writes, and nobody hears an answer before the commit that holds it is on disk.

Orders that arrive while a commit is under way wait, and share the next one. Two threads form a line: the first checks
signatures, the second posts what the first has checked, so that the disk and the processor work at the same time.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Future
from typing import Any

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.journal import JournalPage
from gpufair.protocol.messages import Envelope
from gpufair.provider.ledger.ledger import Ledger, Prepared

_Asked = tuple[Envelope, "Future[Envelope]"]
_Checked = tuple[Prepared, "Future[Envelope]"]


class Writer:
    """The async face of a ledger; holds expire by themselves while it runs. Call `close` when done."""

    def __init__(self, ledger: Ledger, *, tick_ms: int = limits.LEDGER_TICK_MS) -> None:
        self._ledger = ledger
        self._tick_s = tick_ms / 1000
        self._asked: queue.Queue[_Asked | None] = queue.Queue(limits.LEDGER_QUEUE)
        # A small second queue: the checker waits for the writer instead of running far ahead of it.
        self._checked: queue.Queue[_Checked | None] = queue.Queue(2 * limits.LEDGER_BATCH)
        self._closed = False
        self.last_error = ""
        self._threads = [
            threading.Thread(target=self._check, name="ledger-checker", daemon=True),
            threading.Thread(target=self._write, name="ledger-writer", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    async def submit(self, document: Envelope) -> Envelope:
        """Execute an order; see `Ledger.submit`. Raises LocalError when too many orders wait, or the disk fails."""
        return await asyncio.wrap_future(self.enqueue(document))

    async def ask(self, query: Envelope) -> Envelope:
        """Answer a query; see `Ledger.ask`."""
        return await asyncio.to_thread(self._ledger.ask, query)

    async def journal(self, query: Envelope) -> JournalPage | Envelope:
        """A page of the journal; see `Ledger.journal`."""
        return await asyncio.to_thread(self._ledger.journal, query)

    def enqueue(self, document: Envelope) -> Future[Envelope]:
        """Put an order in line, from any thread; the future gets its answer, PeerError or LocalError."""
        future: Future[Envelope] = Future()
        if self._closed:
            raise LocalError(Fault.UNAVAILABLE, "the ledger is stopping")
        try:
            self._asked.put_nowait((document, future))
        except queue.Full:
            hint = "send the same bytes again in a moment"
            raise LocalError(Fault.UNAVAILABLE, "too many orders wait for the ledger", hint=hint) from None
        return future

    def close(self) -> None:
        """Finish what is in line, then stop both threads."""
        self._closed = True
        self._asked.put(None)
        for thread in self._threads:
            thread.join()

    def _check(self) -> None:
        while (asked := self._asked.get()) is not None:
            document, future = asked
            if not future.set_running_or_notify_cancel():
                continue
            try:
                prepared = self._ledger.prepare(document)
            except Exception as error:  # whatever it is belongs to the one who asked, never to this thread
                future.set_exception(error)
            else:
                self._checked.put((prepared, future))
        self._checked.put(None)

    def _write(self) -> None:
        running = True
        while running:
            batch, running = self._drain()
            if batch:
                self._post(batch)
            else:
                self._expire()

    def _drain(self) -> tuple[list[_Checked], bool]:
        """Everything that waits now, at most a batch; empty after one tick without any."""
        batch: list[_Checked] = []
        try:
            item = self._checked.get(timeout=self._tick_s)
            while item is not None:
                batch.append(item)
                if len(batch) == limits.LEDGER_BATCH:
                    return batch, True
                item = self._checked.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _post(self, batch: list[_Checked]) -> None:
        try:
            results = self._ledger.post([prepared for prepared, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                self._fail(batch[0][1], error)
                return
            # One order must not be able to sink the others: post them one by one, and let the culprit fail alone.
            for one in batch:
                self._post([one])
            return
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, PeerError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _expire(self) -> None:
        try:
            self._ledger.expire()
        except Exception as error:  # a full disk must not end the thread: the next tick tries again
            self.last_error = str(error)

    def _fail(self, future: Future[Any], error: Exception) -> None:
        self.last_error = str(error)
        future.set_exception(error)
