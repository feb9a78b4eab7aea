"""Signatures on other cores. Rule: a verdict is about exactly the bytes that were sent, and a broken helper gives none.

Checking two signatures is half the work of a capture, and Python does one thing at a time. Helper processes have no
keys and no database: they are given an order's bytes and say what is wrong with its signatures, if anything.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from gpufair.protocol import book, envelope, wire
from gpufair.protocol.book import Instruction, Order
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Capture, Envelope, Voucher

Verdict = tuple[int, str, str]
"""Fault (0: none) and what it is, and the doubt about a capture's voucher."""


class Verifiers:
    """Helper processes that check signatures; `close` ends them."""

    def __init__(self, processes: int) -> None:
        # Not forked: a copy of a process with threads and channels in use may hang.
        context = get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_quiet)
        self._processes = processes

    def ask(self, orders: Sequence[Signed[Order]]) -> list[Future[list[Verdict]]]:
        """Begin to check orders; the futures' lists, joined, are the verdicts in the same order."""
        share = -(-len(orders) // self._processes)
        documents = [order.bytes for order in orders]
        chunks = [documents[at : at + share] for at in range(0, len(documents), share)]
        return [self._pool.submit(check, chunk) for chunk in chunks]

    def close(self) -> None:
        """End the helpers."""
        self._pool.shutdown(cancel_futures=True)


def check(documents: Sequence[bytes]) -> list[Verdict]:
    """What is wrong with the signatures of these orders; runs in a helper."""
    return [_check(document) for document in documents]


def believed(order: Signed[Order], verdict: Verdict) -> Instruction | PeerError:
    """The instruction that a verdict lets through."""
    fault, what, doubt = verdict
    if fault:
        return PeerError(Fault(fault), what)
    if doubt or not isinstance(order.doc, Capture) or not order.doc.voucher:
        return Instruction(order, doubt=doubt)
    return Instruction(order, envelope.from_bytes(order.doc.voucher, Voucher))


def instructed(order: Signed[Order]) -> Instruction | PeerError:
    """The same without helpers."""
    try:
        return book.instruct(envelope.authenticate(order))
    except PeerError as error:
        return error


def _check(document: bytes) -> Verdict:
    result = instructed(book.read_order(wire.decode(Envelope, document)))
    if isinstance(result, PeerError):
        return int(result.fault), result.what, ""
    return 0, "", result.doubt


def _quiet() -> None:
    """Leave Ctrl-C to the node: it stops its helpers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
