"""What a node says of itself to its owner. Rule: figures come from the stores at the moment of asking."""

from __future__ import annotations

from typing import Any

from gpufair.protocol import limits
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.lifecycle import LIVE, AttemptState, LeaseState
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.store import AttemptRow, LeaseRow

DAY_MS = 24 * limits.HOUR


def earnings(store: RowStore, now_ms: int) -> dict[str, Any]:
    """Micro-credits captured from leases that were active today (UTC), and what is promised but not captured yet."""
    midnight = now_ms - now_ms % DAY_MS
    with store.read() as rows:
        leases = rows.all(LeaseRow)
        # A lease that closes is settled once its ledger has answered: until then its money is promised, not here.
        live = [Account.load(rows, lease) for lease in leases if lease.state in (*LIVE, LeaseState.CLOSING)]
        states = [attempt.state for attempt in rows.all(AttemptRow)]
    return {
        "earned_today": sum(lease.captured for lease in leases if lease.active_ms >= midnight),
        "earned": sum(lease.captured for lease in leases),
        "pending": sum(account.uncaptured for account in live),
        "open_leases": sum(account.lease.state in LIVE for account in live),
        "held": sum(account.lease.hold - account.lease.captured for account in live),
        "jobs_paid": states.count(AttemptState.PAID),
        "jobs_failed": states.count(AttemptState.FAILED),
    }
