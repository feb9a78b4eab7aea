"""Whose fault, what, why, and what to do next. Rule: an exception is a bug, I/O, or a peer breaking the protocol.

A refusal that belongs to the market's normal course (too dear, too large, no funds) is not an exception: it is a
`Reason` with numbers in a signed document.
"""

from __future__ import annotations

from enum import IntEnum


class Fault(IntEnum):
    """Why something was refused. The numbers are on the wire (v1/documents.proto, `Fault`) and never change."""

    UNSPECIFIED = 0
    MALFORMED = 1
    TOO_LARGE = 2
    WRONG_TYPE = 3
    WRONG_AUDIENCE = 4
    EXPIRED = 5
    FROM_THE_FUTURE = 6
    BAD_SIGNATURE = 7
    REPLAYED_DIFFERENT = 8
    UNKNOWN = 9
    NOT_ALLOWED = 10
    CONFLICT = 11
    INSUFFICIENT_FUNDS = 12
    LIMIT = 13
    STALE = 14
    UNAVAILABLE = 15
    INTERNAL = 16


class FairError(Exception):
    """Base of every error that gpufair raises on purpose.

    `what` says what went wrong, `hint` the next thing to do; both are safe to print (no control characters from peers).
    """

    def __init__(self, fault: Fault, what: str, *, hint: str = "") -> None:
        self.fault = fault
        self.what = printable(what)
        self.hint = printable(hint)
        super().__init__(f"{self.what}. {self.hint}" if hint else self.what)


class LocalError(FairError):
    """Our own side's fault: configuration, disk, engine, a bug. The peer did nothing wrong."""


class PeerError(FairError):
    """The other side's fault: what it sent or did breaks the protocol. Nothing of ours was changed by it."""


class IllegalEventError(LocalError):
    """An event that the state table does not allow in this state; the state is unchanged."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(Fault.CONFLICT, f"a {machine} in state {state} cannot take the event {event}")


def printable(text: str, limit: int = 600) -> str:
    """Text from anywhere made safe for a terminal and a log: no control or invisible characters, bounded."""
    clean = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
