"""What to say to a counter-offer. Rule: never beyond the buyer's own bounds, never the same bid twice, never for ever.

Pure: it sees the bid, the provider's signed answer and the bounds, and says what to do next (docs/search.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpufair.client.config import Manner
from gpufair.client.market.leases import Terms
from gpufair.protocol import limits
from gpufair.protocol import messages as m
from gpufair.protocol.messages import Reason, ReasonCode, Spec
from gpufair.protocol.pricing import quote, smallest_window
from gpufair.protocol.units import show

PASSING = frozenset({
    ReasonCode.PAUSED, ReasonCode.TOO_MANY_LEASES, ReasonCode.UNSECURED_LIMIT, ReasonCode.QUEUE_FULL,
    ReasonCode.RESERVED,
})  # fmt: skip
"""Reasons that may be gone in a moment."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a buyer agrees to at most: the price of the job, the wait for its turn, and at least: how long it lasts."""

    price_max: int
    wait_max_ms: int
    lasts_min_ms: int
    manner: Manner = Manner.ACCEPT


@dataclass(frozen=True, slots=True)
class Leave:
    """There is nothing to agree on: why, and whether it may be otherwise in a moment."""

    why: str
    for_now: bool = False


def reply(
    spec: Spec,
    mine: Terms,
    reasons: Sequence[Reason],
    offered: m.Terms | None,
    bounds: Bounds,
    *,
    rounds: int,
    renewed: bool = False,
) -> Terms | Leave:
    """The next bid, or why there is none. `rounds` is how many counter-offers of this provider came before.

    `renewed`: the counter-offer is made under another offer than the bid was, so the same bid is not the same there.
    """
    if offered is None:
        return Leave("it makes no counter-offer", for_now=any(reason.code in PASSING for reason in reasons))
    if bounds.manner is Manner.NEVER:
        return Leave("counter-offers are not taken")
    if rounds >= limits.COUNTERS_MAX:
        return Leave(f"{rounds} counter-offers are enough")
    theirs = _adapted(spec, mine, offered)
    if theirs == mine and not renewed:
        return Leave("it offers what it has just declined")
    return next((Leave(why) for why in _objections(spec, mine, theirs, offered, bounds)), None) or theirs


def price(spec: Spec, terms: Terms) -> int:
    """What the job costs under a bid."""
    return quote(spec, terms.sheet, first=True).total if terms.sheet is not None else 0


def _adapted(spec: Spec, mine: Terms, offered: m.Terms) -> Terms:
    """Our bid as near to what it was as the counter-offer allows."""
    cost = quote(spec, offered.sheet, first=True)
    cap = cost.total if mine.cap == price(spec, mine) else mine.cap  # for one job, or a budget for many
    return replace(
        mine,
        sheet=offered.sheet,
        bid_class=offered.bid_class,
        notice_ms=offered.notice_ms,
        cap=min(cap, offered.cap_max),
        window=min(max(mine.window, cost.increment, cost.upfront), offered.window_max),
        lasts_ms=min(mine.lasts_ms, offered.lease_max_ms),
    )


def _objections(spec: Spec, mine: Terms, theirs: Terms, offered: m.Terms, bounds: Bounds) -> list[str]:
    cost, most = price(spec, theirs), bounds.price_max
    if bounds.manner is Manner.FIRM:
        most = min(most, price(spec, mine))
    needed = max(smallest_window(spec, offered.sheet), quote(spec, offered.sheet, first=True).upfront)
    checks = (
        (theirs.bid_class is not mine.bid_class, f"it sells {theirs.bid_class.name.lower()} only"),
        (theirs.notice_ms < mine.notice_ms, f"it gives {theirs.notice_ms / 1000:g} s notice at most"),
        (cost > most, f"it asks {show(cost)}, our highest is {show(most)}"),
        (cost > theirs.cap, f"a lease there may cost {show(theirs.cap)} at most, the job costs {show(cost)}"),
        (needed > theirs.window, f"its window of {show(theirs.window)} is below the {show(needed)} that the job needs"),
        (theirs.lasts_ms < bounds.lasts_min_ms, f"a lease lasts {theirs.lasts_ms // 1000} s at most there"),
        (offered.wait_ms > bounds.wait_max_ms, f"it would wait {offered.wait_ms / 1000:g} s for its turn"),
    )
    return [why for applies, why in checks if applies]
