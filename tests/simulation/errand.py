"""What somebody wants under one lease of a simulated market. Rule: it is in nobody's wallet, and survives any crash."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.client.wallet.sequels import Before
from gpufair.protocol.messages import JobBody, Spec


@dataclass
class Errand:
    """What somebody wants under one lease, how much of a hurry there is, and what came in between."""

    plan: tuple[Spec, ...]
    deadline_ms: int = 300_000
    hurry_ms: int = 300
    cancels: float = 0.0
    finishes: bool = True
    short: bool = False
    """The lease could not pay all of it."""
    cancelled: bool = False
    unfunded: bool = False
    """The provider would not take the hold."""
    checkpoint_every: int = 0


@dataclass(frozen=True)
class Ordered:
    """One job, as it is placed."""

    spec: Spec
    body: JobBody
    job: bytes = b""
    """Its id, for whoever has written that down already; else the session draws one."""
    before: Before | None = None
