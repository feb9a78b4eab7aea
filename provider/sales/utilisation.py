"""Prices that follow the work there is. Rule: smoothed before it counts, and published only when it has moved enough.

Two things keep offers from being renewed at every step: the share of busy workers counts as it was over some minutes,
and a price stays until what it should be is a band away. So two changes lie apart (`quiet_ms`), whatever buyers do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpufair.protocol import limits
from gpufair.protocol.messages import PriceSheet
from gpufair.protocol.ports import Clock
from gpufair.protocol.pricing import MILLI, scaled
from gpufair.provider.config import PriceConfig, UtilisationConfig
from gpufair.provider.sales.ask import written

WHOLE = 10**12
"""All workers busy all the time, in the units of a load: fine enough for nothing to get lost between two looks."""


@dataclass(frozen=True, slots=True)
class Load:
    """The share of workers that were busy lately, in `WHOLE`s, as of a time."""

    share: int
    at_ms: int

    def later(self, now_ms: int, busy: int, size: int, lag_ms: int) -> Load:
        """The load after some more time, in which `busy` of `size` workers had something to do."""
        passed = max(0, now_ms - self.at_ms)
        target = WHOLE * min(busy, size) // max(1, size)
        return Load(self.share + (target - self.share) * passed // (lag_ms + passed), max(now_ms, self.at_ms))


def wanted_milli(share: int, rule: UtilisationConfig) -> int:
    """The share of the written sheet that goes with a load, in thousandths: a straight line from idle to busy."""
    return rule.idle_milli + (rule.busy_milli - rule.idle_milli) * share // WHOLE


def band(published_milli: int, rule: UtilisationConfig) -> int:
    """How far it must be off before another price is published, in thousandths of the written sheet."""
    return max(1, published_milli * rule.band_milli // MILLI)


def published_milli(before: int, share: int, rule: UtilisationConfig) -> int:
    """What is published now, `before` having been so far."""
    wanted = wanted_milli(share, rule)
    return wanted if abs(wanted - before) >= band(before, rule) else before


def quiet_ms(rule: UtilisationConfig) -> int:
    """How long two changes lie apart at least, even between no load and all of it."""
    return rule.minutes * limits.MINUTE * (band(rule.idle_milli, rule) - 1) // max(1, rule.busy_milli - rule.idle_milli)


class UtilisationAsk:
    """The owner's sheet times a factor. `workers` says how many are busy, and how many there are."""

    def __init__(self, price: PriceConfig, clock: Clock, workers: Callable[[], tuple[int, int]]) -> None:
        self._price, self._clock, self._workers = price, clock, workers
        self._load = Load(0, clock.now_ms())
        self._published = wanted_milli(0, price.utilisation)

    def sheet(self, model: bytes) -> PriceSheet:
        """The sheet at the factor that is published now."""
        self._look()
        return scaled(written(self._price, model), self._published * MILLI)

    def why(self, model: bytes) -> str:
        """The load, and what comes of it."""
        rule, percent = self._price.utilisation, self._load.share * 100 // WHOLE
        return (
            f"{self._published} thousandths of config.toml's, between {rule.idle_milli} and {rule.busy_milli}: "
            f"workers were busy {percent} % of the last {rule.minutes} min or so"
        )

    def _look(self) -> None:
        rule = self._price.utilisation
        self._load = self._load.later(self._clock.now_ms(), *self._workers(), rule.minutes * limits.MINUTE)
        self._published = published_milli(self._published, self._load.share, rule)
