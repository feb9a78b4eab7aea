"""How many places are taken. Rule: jobs take them, and leases that were paid just now; a mere bid takes none (rule 21).

On demand goes before interruptible: for a bid on demand only its like are here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.lifecycle import AttemptState, LeaseState
from gpufair.protocol.limits import FUNDING_TIMEOUT_MS, LEASES_MAX
from gpufair.provider.jobs.store import AttemptTime, LeaseClass, ReservationRow

WAITING = (AttemptState.ACCEPTED, AttemptState.QUEUED)
"""Jobs that are not at work. Those whose bodies are still to come count: they could all come at once."""


@dataclass(frozen=True)
class Capacity:
    """What there is for jobs: workers, and places to wait for one."""

    workers: int = LEASES_MAX
    queue: int = 0

    @property
    def places(self) -> int:
        """All of them."""
        return self.workers + self.queue

    def taken(self, rows: Rows, now_ms: int, *, on_demand: bool) -> int:
        """Places that are taken for a bid of this class.

        Who has paid and orders nothing keeps its place for half a minute. Workers that are held are taken. Jobs that
        share a worker take no more places than there are workers.
        """
        paid = rows.all(LeaseClass, state=LeaseState.FUNDED)
        fresh = [lease.id for lease in paid if now_ms - lease.active_ms < FUNDING_TIMEOUT_MS]
        running = _leases(rows, (AttemptState.RUNNING,))
        busy = _count(rows, [*running, *(holders(rows) - {*running})], on_demand=on_demand)
        return min(self.workers, busy) + _count(rows, [*_leases(rows, WAITING), *fresh], on_demand=on_demand)


def waiting(rows: Rows, *, on_demand: bool) -> int:
    """Jobs that a job of this class finds waiting."""
    return _count(rows, _leases(rows, WAITING), on_demand=on_demand)


def holders(rows: Rows) -> set[bytes]:
    """The leases that have a worker held, or are about to pay for one."""
    return {one.lease for one in rows.all(ReservationRow, over=False)}


def _leases(rows: Rows, states: Collection[AttemptState]) -> list[bytes]:
    return [attempt.lease for attempt in rows.all(AttemptTime, state=states)]


def _count(rows: Rows, leases: list[bytes], *, on_demand: bool) -> int:
    if not on_demand or not leases:
        return len(leases)
    behind = {lease.id for lease in rows.all(LeaseClass, id=set(leases), interruptible=True)}
    return sum(lease not in behind for lease in leases)
