"""What to change where nothing matches. Rule: whoever is out for one reason alone shows what would let it in.

The changes are ordered by how many offers each would bring, and say what the job would cost from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from gpufair.client.market.stake import USUAL, Stake
from gpufair.protocol import limits, matching
from gpufair.protocol.envelope import Signed
from gpufair.protocol.messages import Offer, Reason, ReasonCode, Spec
from gpufair.protocol.pricing import quote
from gpufair.protocol.search.filters import Filter, Miss
from gpufair.protocol.units import show

Against = tuple[Miss | Reason, ...]
"""All that speaks against an offer."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change to what was asked for: what to write, how many offers it brings, the least that it would cost."""

    what: str
    matches: int
    price: int

    def __str__(self) -> str:
        return f"{self.what}: {self.matches} offer{'' if self.matches == 1 else 's'} from {show(self.price)}"


def nearest(unused: Iterable[tuple[Signed[Offer], Against]], spec: Spec, stake: Stake = USUAL) -> tuple[Change, ...]:
    """The single changes that would let offers in, the most useful one first; none: it takes more than one."""
    prices: dict[str, list[int]] = {}
    for offer, against in unused:
        model = matching.model_offer(offer.doc, spec.model)
        changed = _changed(against[0], spec) if len(against) == 1 else None
        if changed is None or model is None:
            continue
        what, other = changed
        prices.setdefault(what, []).append(quote(other, stake.sheet(offer.doc, model), first=True).total)
    changes = (Change(what, len(costs), min(costs)) for what, costs in prices.items())
    return tuple(sorted(changes, key=lambda change: (-change.matches, change.price, change.what)))


def _changed(why: Miss | Reason, spec: Spec) -> tuple[str, Spec] | None:
    """What to write instead, and the job that it makes; None where no option helps."""
    if isinstance(why, Miss):
        return (f"without {why.filter.option}", spec) if why.filter not in (Filter.MODEL, Filter.TASK) else None
    change = _CHANGES.get(why.code)
    return change(spec, why) if change is not None else None


def _smaller(spec: Spec, why: Reason) -> tuple[str, Spec] | None:
    """Half the sides, and half of that, until it is small enough."""
    width, height = spec.width, spec.height
    while width * height > why.limit:
        width, height = (side // 2 // limits.SIDE_MULTIPLE * limits.SIDE_MULTIPLE for side in (width, height))
    if min(width, height) < limits.SIDE_MIN:
        return None
    return f"--size {width}x{height}", replace(spec, width=width, height=height)


_CHANGES: dict[ReasonCode, Callable[[Spec, Reason], tuple[str, Spec] | None]] = {
    ReasonCode.SIZE_TOO_LARGE: _smaller,
    ReasonCode.STEPS_TOO_MANY: lambda spec, why: (f"--steps {why.limit}", replace(spec, steps=max(1, why.limit))),
    ReasonCode.COUNT_TOO_LARGE: lambda spec, why: (f"--count {why.limit}", replace(spec, count=max(1, why.limit))),
    ReasonCode.NOTICE_NOT_OFFERED: lambda spec, why: (f"--notice {why.limit // limits.SECOND}", spec),
    ReasonCode.ADAPTERS_NOT_OFFERED: lambda spec, _why: ("without --lora", replace(spec, adapters=())),
    ReasonCode.PRECISION_NOT_OFFERED: lambda spec, _why: ("another --precision", spec),
    ReasonCode.SCHEDULER_NOT_OFFERED: lambda spec, _why: ("another --scheduler", spec),
}
