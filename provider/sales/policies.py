"""The policy that the owner has chosen. Rule: config.toml names it, and here it is made."""

from __future__ import annotations

from collections.abc import Callable

from gpufair.protocol.ports import Clock
from gpufair.provider.config import PriceConfig
from gpufair.provider.sales.ask import AskPolicy, FixedAsk
from gpufair.provider.sales.cost_plus import CostPlusAsk
from gpufair.provider.sales.speeds import Measurement
from gpufair.provider.sales.utilisation import UtilisationAsk


def chosen(
    price: PriceConfig,
    clock: Clock,
    workers: Callable[[], tuple[int, int]],
    measured: Callable[[bytes], Measurement | None],
) -> AskPolicy:
    """The policy of a configuration that was checked. `workers`: the busy ones and all; `measured`: of a model."""
    match price.policy:
        case "utilisation":
            return UtilisationAsk(price, clock, workers)
        case "cost-plus":
            return CostPlusAsk(price, measured)
        case _:
            return FixedAsk(price)
