"""What was spent. Rule: money that may still be taken counts as spent until the ledger has said that it came back."""

from __future__ import annotations

from gpufair.client.wallet.account import Account
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.lifecycle import LeaseState

_NEVER_HELD = (LeaseState.PROPOSED, LeaseState.DECLINED, LeaseState.ABANDONED, LeaseState.EXPIRED)


def is_closed(lease: LeaseRow) -> bool:
    """Whether the ledger has said that the lease's hold is closed."""
    return lease.state == LeaseState.SETTLED or (bool(lease.order) and lease.captured + lease.released >= lease.cap)


def is_open(lease: LeaseRow) -> bool:
    """Whether money of ours may be held for the lease."""
    return bool(lease.order) and lease.state not in _NEVER_HELD and not is_closed(lease)


def at_stake(rows: Rows, lease: LeaseRow, now_ms: int) -> int:
    """What a lease has cost, or still can, in micro-credits."""
    if not lease.order or lease.state in _NEVER_HELD:
        return 0
    if is_closed(lease):
        return lease.captured
    if now_ms > lease.hold_expires_ms:
        return Account.load(rows, lease).spent  # the hold has released itself: no more than we signed can be gone
    return lease.cap


def spent_since(rows: Rows, since_ms: int, now_ms: int) -> int:
    """What leases made since a time have cost, or still can, in micro-credits."""
    leases = [lease for lease in rows.all(LeaseRow) if lease.created_ms >= since_ms]
    return sum(at_stake(rows, lease, now_ms) for lease in leases)
