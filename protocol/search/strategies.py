"""Which of two offers is the better one. Rule: whole numbers alone, and a tie always ends the same way.

A strategy has two weights. What counts is price to the power of the one, times time to the power of the other: so half
the price is worth twice the wait where the weights are equal, whatever the unit of either and whoever else is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.gossip_limits import WEIGHT_MAX

Key = tuple[int, int, int, str]
"""What offers are ordered by, the least first."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """How much price and speed count, 0 to 9 each, not both 0."""

    price: int
    speed: int

    def score(self, price: int, time_us: int) -> int:
        """The less, the better; it never falls when a price or a time rises."""
        return int(max(1, price) ** self.price * max(1, time_us) ** self.speed)

    def key(self, price: int, time_us: int, tie: str) -> Key:
        """The score; what costs less, takes less, and then the tie's text, between equals."""
        return self.score(price, time_us), price, time_us, tie

    def __str__(self) -> str:
        named = {strategy: name for name, strategy in STRATEGIES.items()}
        return named.get(self) or f"price={self.price},speed={self.speed}"


CHEAPEST = Strategy(price=1, speed=0)
FASTEST = Strategy(price=0, speed=1)
BALANCED = Strategy(price=1, speed=1)
STRATEGIES = {"cheapest": CHEAPEST, "fastest": FASTEST, "balanced": BALANCED}


def strategy(text: str) -> Strategy:
    """A strategy by its name, or by weights such as `price=2,speed=1`. Raises LocalError that says how to write it."""
    if text.strip().lower() in STRATEGIES:
        return STRATEGIES[text.strip().lower()]
    given: dict[str, int] = {}
    for part in text.split(","):
        name, _, weight = (word.strip().lower() for word in part.partition("="))
        if name not in ("price", "speed") or name in given or not (weight.isascii() and weight.isdigit()):
            raise _unknown(text)
        given[name] = int(weight)
    made = Strategy(given.get("price", 0), given.get("speed", 0))
    if not 1 <= max(made.price, made.speed) <= WEIGHT_MAX:
        raise _unknown(text)
    return made


def _unknown(text: str) -> LocalError:
    hint = f"there are {', '.join(STRATEGIES)}, and weights of 0 to {WEIGHT_MAX} like price=2,speed=1"
    return LocalError(Fault.MALFORMED, f"there is no strategy {text!r}", hint=hint)
