"""What was spent. Rule: money that may still be taken counts as spent until the ledger has said that it came back.

A bid counts from the moment that it is written down: whoever checks the daily cap and writes in one transaction can't
be overtaken by another process at the same wallet.
"""

from __future__ import annotations

from gpufair.client.config import DAY_MS
from gpufair.client.failures import FundsError
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol import limits
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.lifecycle import LeaseState
from gpufair.protocol.units import show

_NEVER_HELD = (LeaseState.PROPOSED, LeaseState.DECLINED, LeaseState.ABANDONED, LeaseState.EXPIRED)
_ON_THE_WAY = (LeaseState.PROPOSED, LeaseState.AGREED)


def is_closed(lease: LeaseRow) -> bool:
    """Whether the ledger has said that the lease's hold is closed."""
    return lease.state == LeaseState.SETTLED or (bool(lease.order) and lease.captured + lease.released >= lease.cap)


def is_open(lease: LeaseRow) -> bool:
    """Whether money of ours may be held for the lease."""
    return bool(lease.order) and lease.state not in _NEVER_HELD and not is_closed(lease)


def at_stake(rows: Rows, lease: LeaseRow, now_ms: int) -> int:
    """What a lease has cost, or still can, in micro-credits."""
    if not lease.order and lease.state in _ON_THE_WAY:
        # Its hold is ordered within this time, or checked anew when it is: see `Leases.order_hold`.
        return lease.cap if now_ms < lease.created_ms + limits.FUNDING_TIMEOUT_MS else 0
    if is_closed(lease):
        return lease.captured
    if not lease.order or lease.state in _NEVER_HELD:
        return 0
    if now_ms > lease.hold_expires_ms:
        return Account.load(rows, lease).spent  # the hold has released itself: no more than we signed can be gone
    return lease.cap


def spent_since(rows: Rows, since_ms: int, now_ms: int, *, besides: bytes = b"") -> int:
    """What leases made since a time have cost, or still can, in micro-credits; the lease `besides` left out."""
    leases = [lease for lease in rows.all(LeaseRow) if lease.created_ms >= since_ms and lease.id != besides]
    return sum(at_stake(rows, lease, now_ms) for lease in leases)


def room_today(rows: Rows, daily_cap: int | None, now_ms: int) -> int | None:
    """What the daily cap has left; None: there is no cap."""
    return None if daily_cap is None else max(0, daily_cap - spent_since(rows, now_ms - DAY_MS, now_ms))


def check_cap(rows: Rows, daily_cap: int | None, price: int, now_ms: int, *, besides: bytes = b"") -> None:
    """Raise FundsError if the daily cap (None: there is none) has no room for a price.

    Binding only for what the same transaction writes down. `besides` is the lease that the price is for, if it is in
    the wallet already.
    """
    if daily_cap is None:
        return
    spent = spent_since(rows, now_ms - DAY_MS, now_ms, besides=besides)
    if spent + price > daily_cap:
        what = f"{show(price)} would be reserved; {show(spent)} of the daily cap of {show(daily_cap)} is used"
        hint = "raise daily_cap in the config, or wait: it counts the last 24 hours"
        raise FundsError(what, wanted=spent + price, limit=daily_cap, hint=hint)
