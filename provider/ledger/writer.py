"""Group commit. Rule: one thread writes, and nobody hears an answer before the commit that holds it is on disk.

Orders that arrive while a commit is under way wait, and share the next one. The same thread checks signatures, between
transactions: a second one would only fight it for the interpreter's lock. Helper processes can take that off it: then
they check the next batch while this one is posted.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gpufair.protocol import book, limits
from gpufair.protocol.envelope import Claim
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.journal import JournalPage
from gpufair.protocol.messages import Envelope
from gpufair.provider.ledger.ledger import Ledger, Opened, Prepared
from gpufair.provider.ledger.verifiers import Asked, Verifiers

_Future = asyncio.Future[Envelope]
_Asked = tuple[Envelope, _Future]
_Settled = tuple[_Future, Envelope | Exception]


@dataclass(frozen=True, slots=True)
class _Begun:
    """Orders that passed the cheap checks, and what helpers were asked about their signatures, if they were."""

    opened: Sequence[tuple[Opened, _Future]] = ()
    asked: Asked = field(default_factory=list)


_WORTH_SENDING = 8
"""Fewer orders than this are checked sooner here than elsewhere."""


class Writer:
    """The async face of a ledger; holds expire by themselves while it runs. Call `close` when done.

    Any number of event loops may use it. `helpers` is how many processes may check signatures for it: they start once
    orders come in crowds, so a quiet ledger has none. `last_error` is the newest failure that nobody who asked could be
    told of.
    """

    def __init__(self, ledger: Ledger, *, helpers: int = 0, tick_ms: int = limits.LEDGER_TICK_MS) -> None:
        self._ledger = ledger
        self._verifiers = Verifiers(helpers, self._note)
        self._tick_s = tick_ms / 1000
        self._line: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._closed = False
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def helpers(self) -> list[int]:
        """The process ids of the helpers that have started."""
        return self._verifiers.pids

    async def submit(self, document: Envelope) -> Envelope:
        """Execute an order; see `Ledger.submit`. Raises LocalError when too many orders wait, or the disk fails.

        Once in line an order is executed, even if the caller no longer waits; asking again gets the same answer.
        """
        if self._closed:
            raise LocalError(Fault.UNAVAILABLE, "the ledger is stopping")
        if self._line.qsize() >= limits.LEDGER_QUEUE:
            hint = "send the same bytes again in a moment"
            raise LocalError(Fault.UNAVAILABLE, "too many orders wait for the ledger", hint=hint)
        future: _Future = asyncio.get_running_loop().create_future()
        self._line.put((document, future))
        return await future

    async def ask(self, query: Envelope) -> Envelope:
        """Answer a query; see `Ledger.ask`."""
        return await asyncio.to_thread(self._ledger.ask, query)

    async def journal(self, query: Envelope) -> JournalPage | Envelope:
        """A page of the journal; see `Ledger.journal`."""
        return await asyncio.to_thread(self._ledger.journal, query)

    def close(self) -> None:
        """Finish what is in line, then stop the thread. Call it from any thread, or in `asyncio.to_thread`."""
        self._closed = True
        self._line.put(None)
        self._thread.join()
        self._verifiers.close()
        late = LocalError(Fault.UNAVAILABLE, "the ledger is stopping")
        while not self._line.empty():  # whoever slipped in behind the end of the line
            item = self._line.get()
            if item is not None:
                _settle([(item[1], late)])

    def _run(self) -> None:
        running, ahead = True, _Begun()
        while running or ahead.opened:
            batch, running = self._drain(wait=not ahead.opened) if running else ([], False)
            begun = self._begin(batch)
            if ahead.opened:
                self._finish(ahead)
            elif running and not batch:
                self._expire()
            if not begun.asked:  # no helper is at work on it, so there is nothing to wait for
                self._finish(begun)
                begun = _Begun()
            ahead = begun

    def _drain(self, *, wait: bool) -> tuple[list[_Asked], bool]:
        """Everything that is in line now, at most a batch; False at the end of the line. Waits one tick if told to."""
        batch: list[_Asked] = []
        try:
            item = self._line.get(timeout=self._tick_s) if wait else self._line.get_nowait()
            while item is not None:
                batch.append(item)
                if len(batch) == limits.LEDGER_BATCH:
                    return batch, True
                item = self._line.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _begin(self, batch: list[_Asked]) -> _Begun:
        """The cheap checks, and, where there are helpers, the signatures' beginning."""
        opened: list[tuple[Opened, _Future]] = []
        claims: list[Claim] = []
        settled: list[_Settled] = []
        for document, future in batch:
            try:
                one = self._ledger.open(document)
                claims += book.claims(one.order) if len(batch) >= _WORTH_SENDING else ()
                opened.append((one, future))
            except Exception as error:  # whatever it is belongs to the one who asked, never to this thread
                settled.append((future, error))
        _settle(settled)
        return _Begun(opened, self._verifiers.ask(claims) if len(opened) >= _WORTH_SENDING else [])

    def _finish(self, begun: _Begun) -> None:
        """The signatures' end, the transaction, and the answers."""
        if not begun.opened:
            return
        found = self._verifiers.answer(begun.asked)
        proven: list[tuple[Prepared, _Future]] = []
        settled: list[_Settled] = []
        for one, future in begun.opened:
            try:
                proven.append((one.proven(found.verify), future))
            except Exception as error:  # as above
                settled.append((future, error))
        settled += self._post(proven)
        _settle(settled)

    def _post(self, checked: list[tuple[Prepared, _Future]]) -> list[_Settled]:
        try:
            results = self._ledger.post([prepared for prepared, _ in checked])
        except Exception as error:
            if len(checked) == 1:
                self.last_error = str(error)
                return [(checked[0][1], error)]
            # One order must not be able to sink the others: post them one by one, and let the culprit fail alone.
            return [settled for one in checked for settled in self._post([one])]
        return [(future, result) for (_, future), result in zip(checked, results, strict=True)]

    def _note(self, what: str) -> None:
        self.last_error = what

    def _expire(self) -> None:
        try:
            self._ledger.expire()
        except Exception as error:  # a full disk must not end the thread: the next tick tries again
            self.last_error = str(error)


def _settle(settled: Iterable[_Settled]) -> None:
    """Wake each event loop once, with all that it waits for."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Settled]] = {}
    for future, result in settled:
        by_loop.setdefault(future.get_loop(), []).append((future, result))
    for loop, mine in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_deliver, mine)


def _deliver(settled: list[_Settled]) -> None:
    for future, result in settled:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
