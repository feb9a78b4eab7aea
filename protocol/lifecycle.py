"""The states of lease, job and attempt. Rule: every transition is a row here, and an illegal event changes nothing.

The tables are data: ARCHITECTURE.md's diagrams and the exhaustive (state x event) test are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from gpufair.protocol.errors import IllegalEventError


class LeaseState(StrEnum):
    """A lease, as both sides see it."""

    PROPOSED = "proposed"
    AGREED = "agreed"
    FUNDED = "funded"
    OPEN = "open"
    CLOSING = "closing"
    SETTLED = "settled"
    DECLINED = "declined"
    EXPIRED = "expired"
    ABANDONED = "abandoned"


class LeaseEvent(StrEnum):
    """What happens to a lease."""

    ACCEPT = "accept"
    DECLINE = "decline"
    EXPIRE = "expire"
    FUND = "fund"
    ABANDON = "abandon"
    OPEN = "open"
    CLOSE = "close"
    SETTLE = "settle"


class JobState(StrEnum):
    """A job under one lease, as the client sees it."""

    DRAFT = "draft"
    PLACED = "placed"
    RUNNING = "running"
    DELIVERED = "delivered"
    PAID = "paid"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class JobEvent(StrEnum):
    """What happens to a job under one lease.

    `STOP` is any end after which it can go on elsewhere, under another lease: reclaimed, preempted, drained, or given
    up by us because its provider is lost.
    """

    PLACE = "place"
    START = "start"
    STOP = "stop"
    DELIVER = "deliver"
    PAY = "pay"
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"


class AttemptState(StrEnum):
    """One execution of a job, as the provider sees it."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    RUNNING = "running"
    DELIVERED = "delivered"
    PAID = "paid"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RECLAIMED = "reclaimed"
    PREEMPTED = "preempted"
    DRAINED = "drained"
    EXPIRED = "expired"


class AttemptEvent(StrEnum):
    """What happens to an attempt; the five stops have five names. `RESTART` is the node's, under a running one."""

    QUEUE = "queue"
    REJECT = "reject"
    START = "start"
    DELIVER = "deliver"
    PAY = "pay"
    FAIL = "fail"
    CANCEL = "cancel"
    RECLAIM = "reclaim"
    PREEMPT = "preempt"
    DRAIN = "drain"
    EXPIRE = "expire"
    RESTART = "restart"


S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True)
class Machine(Generic[S, E]):
    """A named table of transitions with its first state."""

    name: str
    start: S
    table: Mapping[S, Mapping[E, S]]

    def after(self, state: S, event: E) -> S:
        """The state that follows. Raises IllegalEventError if the table has no such row."""
        following = self.table.get(state, {}).get(event)
        if following is None:
            raise IllegalEventError(self.name, state.value, event.value)
        return following

    def allows(self, state: S, event: E) -> bool:
        """Whether the table has a row for this event in this state."""
        return event in self.table.get(state, {})

    def is_terminal(self, state: S) -> bool:
        """Whether nothing can follow."""
        return not self.table.get(state)


LEASE: Machine[LeaseState, LeaseEvent] = Machine(
    "lease",
    LeaseState.PROPOSED,
    {
        LeaseState.PROPOSED: {
            LeaseEvent.ACCEPT: LeaseState.AGREED,
            LeaseEvent.DECLINE: LeaseState.DECLINED,
            LeaseEvent.EXPIRE: LeaseState.EXPIRED,
        },
        LeaseState.AGREED: {
            LeaseEvent.FUND: LeaseState.FUNDED,
            LeaseEvent.ABANDON: LeaseState.ABANDONED,
            LeaseEvent.EXPIRE: LeaseState.EXPIRED,
        },
        LeaseState.FUNDED: {LeaseEvent.OPEN: LeaseState.OPEN, LeaseEvent.CLOSE: LeaseState.CLOSING},
        LeaseState.OPEN: {LeaseEvent.CLOSE: LeaseState.CLOSING},
        LeaseState.CLOSING: {LeaseEvent.SETTLE: LeaseState.SETTLED},
    },
)

JOB: Machine[JobState, JobEvent] = Machine(
    "job",
    JobState.DRAFT,
    {
        JobState.DRAFT: {JobEvent.PLACE: JobState.PLACED, JobEvent.CANCEL: JobState.CANCELLED},
        JobState.PLACED: {
            JobEvent.START: JobState.RUNNING,
            JobEvent.STOP: JobState.STOPPED,
            JobEvent.FAIL: JobState.FAILED,
            JobEvent.CANCEL: JobState.CANCELLED,
            JobEvent.EXPIRE: JobState.EXPIRED,
        },
        JobState.RUNNING: {
            JobEvent.STOP: JobState.STOPPED,
            JobEvent.DELIVER: JobState.DELIVERED,
            JobEvent.FAIL: JobState.FAILED,
            JobEvent.CANCEL: JobState.CANCELLED,
            JobEvent.EXPIRE: JobState.EXPIRED,
        },
        JobState.DELIVERED: {JobEvent.PAY: JobState.PAID, JobEvent.EXPIRE: JobState.EXPIRED},
    },
)

ATTEMPT: Machine[AttemptState, AttemptEvent] = Machine(
    "attempt",
    AttemptState.ACCEPTED,
    {
        AttemptState.ACCEPTED: {
            AttemptEvent.QUEUE: AttemptState.QUEUED,
            AttemptEvent.REJECT: AttemptState.REJECTED,
            AttemptEvent.FAIL: AttemptState.FAILED,
            AttemptEvent.CANCEL: AttemptState.CANCELLED,
            AttemptEvent.RECLAIM: AttemptState.RECLAIMED,
            AttemptEvent.DRAIN: AttemptState.DRAINED,
            AttemptEvent.EXPIRE: AttemptState.EXPIRED,
        },
        AttemptState.QUEUED: {
            AttemptEvent.START: AttemptState.RUNNING,
            AttemptEvent.FAIL: AttemptState.FAILED,
            AttemptEvent.CANCEL: AttemptState.CANCELLED,
            AttemptEvent.RECLAIM: AttemptState.RECLAIMED,
            AttemptEvent.PREEMPT: AttemptState.PREEMPTED,
            AttemptEvent.DRAIN: AttemptState.DRAINED,
            AttemptEvent.EXPIRE: AttemptState.EXPIRED,
        },
        AttemptState.RUNNING: {
            AttemptEvent.RESTART: AttemptState.QUEUED,
            AttemptEvent.DELIVER: AttemptState.DELIVERED,
            AttemptEvent.FAIL: AttemptState.FAILED,
            AttemptEvent.CANCEL: AttemptState.CANCELLED,
            AttemptEvent.RECLAIM: AttemptState.RECLAIMED,
            AttemptEvent.PREEMPT: AttemptState.PREEMPTED,
            AttemptEvent.DRAIN: AttemptState.DRAINED,
            AttemptEvent.EXPIRE: AttemptState.EXPIRED,
        },
        AttemptState.DELIVERED: {AttemptEvent.PAY: AttemptState.PAID, AttemptEvent.EXPIRE: AttemptState.EXPIRED},
    },
)

MACHINES = (LEASE, JOB, ATTEMPT)

LIVE = (LeaseState.FUNDED, LeaseState.OPEN)
"""States of a lease under which work is done, and vouchers are signed and taken."""


def mermaid(machine: Machine[S, E]) -> str:
    """The table as a Mermaid state diagram, one line a row, in the table's order."""
    lines = ["stateDiagram-v2", f"    [*] --> {machine.start.value}"]
    for state, rows in machine.table.items():
        lines += [f"    {state.value} --> {after.value}: {event.value}" for event, after in rows.items()]
    ends = [state for state in type(machine.start) if machine.is_terminal(state)]
    return "\n".join([*lines, *(f"    {state.value} --> [*]" for state in ends)])
