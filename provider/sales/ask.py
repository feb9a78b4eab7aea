"""How an owner's prices are set. Rule: a policy makes a whole price sheet for a model, and nobody else makes one.

The owner's sheet is written down; a policy keeps it as it is (`FixedAsk`) or moves it (`utilisation`, `cost_plus`).
"""

from __future__ import annotations

from typing import Protocol

from gpufair.protocol.messages import PriceSheet
from gpufair.provider.config import PriceConfig


class AskPolicy(Protocol):
    """Sets the price sheet of a model."""

    def sheet(self, model: bytes) -> PriceSheet:
        """The sheet to offer now for the model with this digest."""
        ...

    def why(self, model: bytes) -> str:
        """Why that sheet is what it is, for the owner."""
        ...


class FixedAsk:
    """The sheet that the owner wrote down, for every model the same."""

    def __init__(self, price: PriceConfig) -> None:
        self._price = price

    def sheet(self, model: bytes) -> PriceSheet:
        """The configured sheet."""
        return written(self._price, model)

    def why(self, model: bytes) -> str:
        """It is what the owner wrote."""
        return "as config.toml says"


def written(price: PriceConfig, model: bytes) -> PriceSheet:
    """The owner's own sheet for a model."""
    return PriceSheet(
        model=model,
        per_step_megapixel=price.per_step_megapixel,
        per_decoded_megapixel=price.per_decoded_megapixel,
        per_cold_load=price.per_cold_load,
        per_adapter=price.per_adapter,
        minimum=price.minimum,
        per_reserved_second=price.per_reserved_second,
    )


DEFAULT_CPU = PriceConfig(per_step_megapixel=60, per_decoded_megapixel=60, per_cold_load=0, minimum=10)
DEFAULT_GPU = PriceConfig(per_step_megapixel=15, per_decoded_megapixel=40, per_cold_load=200, minimum=20)
"""Where `init` starts from, in micro-credits, a credit taken as a dollar.

A 512 x 512 picture of 50 guided steps is 26.2 step-megapixels. Consumer cards sell some 14,000 of those for a dollar,
70 micro-credits each at the owner's cost, so 15 a step-megapixel (about 400 a picture) leaves room to bargain. A
processor burns more joules a step: it asks more.
"""
