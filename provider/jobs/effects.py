"""What follows from a committed change. Rule: an effect may be lost in a crash; the store alone can bring it back."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol.messages import Down, Outcome, Reason


@dataclass(frozen=True, slots=True)
class Send:
    """Put a message on the lease's newest stream, if there is one."""

    lease: bytes
    message: Down


@dataclass(frozen=True, slots=True)
class Enqueue:
    """An attempt is ready to run."""

    attempt: bytes


@dataclass(frozen=True, slots=True)
class Stop:
    """An attempt at work must end at its next step; what was done by then is delivered with its end."""

    attempt: bytes
    outcome: Outcome
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """An attempt has ended: whoever is at work on it stops, and what still comes of it is thrown away."""

    attempt: bytes


@dataclass(frozen=True, slots=True)
class Post:
    """The outbox has an order for a ledger."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Money has come under a lease: attempts that wait at its window may look again."""

    lease: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """A lease is paid for: jobs on its model will come."""

    model: bytes


@dataclass(frozen=True, slots=True)
class Keep:
    """A worker is paid to be held for a lease, with this model."""

    lease: bytes
    model: bytes


@dataclass(frozen=True, slots=True)
class LetGo:
    """Whatever is held for a lease is held no longer."""

    lease: bytes


Effect = Send | Enqueue | Stop | Drop | Post | Wake | Expect | Keep | LetGo
