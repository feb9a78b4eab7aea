"""Prices out of what work costs. Rule: joules measured here times the owner's tariff, a margin on it, rounded up once.

Watts come from the GPU's own counter while `gpufaird bench` measures (`hardware/energy`), and from the owner for what
no counter sees; times what a step-megapixel takes they are joules. Where one of the two is missing the model costs what
the owner wrote, and `why` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gpufair.protocol.limits import RATE_MAX
from gpufair.protocol.messages import PriceSheet
from gpufair.protocol.pricing import MILLI
from gpufair.protocol.units import show
from gpufair.provider.config import CostPlusConfig, PriceConfig
from gpufair.provider.sales.ask import written
from gpufair.provider.sales.speeds import Measurement

NANOJOULES_A_KWH = 3_600_000 * 10**9


def cost(nanojoules: int, rule: CostPlusConfig) -> int:
    """Micro-credits for so much energy with the margin on it: rounded up, never nothing, never beyond a rate."""
    price = nanojoules * rule.tariff * (MILLI + rule.margin_milli)
    return min(RATE_MAX, max(1, -(-price // (NANOJOULES_A_KWH * MILLI))))


class CostPlusAsk:
    """Energy and a margin. `measured` says what is known of a model, if anything."""

    def __init__(self, price: PriceConfig, measured: Callable[[bytes], Measurement | None]) -> None:
        self._price, self._measured = price, measured

    def sheet(self, model: bytes) -> PriceSheet:
        """A step and a decoding at what they cost here; the other lines as they are written."""
        plain, found = written(self._price, model), self._measured(model)
        if found is None or not (drawn := self._milliwatts(found)):
            return plain
        rule, speed = self._price.cost_plus, found.speed
        # Milliwatts times microseconds are nanojoules.
        return replace(
            plain,
            per_step_megapixel=cost(drawn * speed.step_megapixel_us, rule),
            per_decoded_megapixel=cost(drawn * speed.decoded_megapixel_us, rule),
        )

    def why(self, model: bytes) -> str:
        """The joules, the tariff and the margin, or what is missing."""
        found, rule = self._measured(model), self._price.cost_plus
        if found is None:
            return "as config.toml says, since this model was not measured here: run `gpufaird bench`"
        if not (drawn := self._milliwatts(found)):
            return "as config.toml says, since nobody knows what a worker draws: set [price.cost_plus] watts"
        joules = drawn * found.speed.step_megapixel_us / 10**9
        return (
            f"{joules:,.1f} J a step-megapixel ({drawn / MILLI:,.0f} W) at {show(rule.tariff)} a kWh, "
            f"and {rule.margin_milli} thousandths on it"
        )

    def _milliwatts(self, found: Measurement) -> int:
        return found.milliwatts + self._price.cost_plus.watts * MILLI
