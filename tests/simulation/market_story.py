"""What a run of a whole market is about. Rule: a story is a function of its seed; a test may fix any of its values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import cheats
import market_cheats
from actor import signer
from market_buying import Shopping
from market_selling import Shop
from network import Weather

from gpufair.client.market.stake import Stake
from gpufair.client.market.wish import Wish
from gpufair.protocol import limits
from gpufair.protocol.messages import BidClass
from gpufair.provider.config import Config, LedgerConfig, LimitsConfig, NodeConfig, PriceConfig, UtilisationConfig

START_FUNDS = 10**6
ROUGH = Weather(lose=0.05, double=0.05, slow=0.05, break_stream=0.005)
WEATHERS = (
    Weather(),
    ROUGH,
    replace(ROUGH, crash=0.002),
    replace(ROUGH, lose=0.15, crash=0.005, wild=True),
    Weather(crash=0.01),
)


@dataclass
class Story:
    """What happens; everything else follows from the seed. Times are milliseconds after the start."""

    seed: int
    sellers: int = 8
    buyers: int = 3
    banks: int = 2
    weather: Weather = field(default_factory=Weather)
    heal_ms: int = 90_000
    parted: tuple[int, int] = (0, 0)
    """From when to when the network is in two."""
    quiet_ms: int = 180_000
    """From then on nobody shows, seeks or bids: what is under way ends."""
    healing_ms: int = 90_000
    """How long directories may take to be at one after the last fault: a named peer is tried every minute or so."""
    on_disk: bool = True
    """Whether directories are in SQLite, or in memory: faster, and a power cut takes nothing of them."""
    cheating_sellers: tuple[Any, ...] = ()
    cheating_buyers: tuple[Any, ...] = ()
    skew_ms: int = 0
    pictures: int = 3
    stops: int = 0
    """How often an owner ends all that is under way at a node."""
    deaths: int = 0
    """How many nodes are gone for minutes."""

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)

    def names(self, letter: str, count: int) -> list[str]:
        """The names of so many actors."""
        return [f"{letter}{n}" for n in range(count)]

    def skew(self) -> int:
        """How wrong somebody's clock is."""
        return self.dice.randrange(-self.skew_ms, self.skew_ms + 1)

    def shop(self, number: int) -> Shop:
        """A seller's decisions: all prices differ, and nobody knows more than a few others."""
        dice = self.dice
        ledgers = dice.sample(range(self.banks), dice.randrange(1, self.banks + 1))
        accepted = tuple(f"{signer(f'bank{one}').did}@10.9.0.{one + 1}:7700" for one in ledgers)
        price = PriceConfig(
            per_step_megapixel=dice.randrange(500_000, 2_000_000), per_cold_load=dice.choice((0, 0, 50)),
            minimum=dice.choice((0, 0, 20)), floor_milli=dice.choice((500, 500, 1_000)),
            policy=dice.choice(("fixed", "fixed", "utilisation")), utilisation=UtilisationConfig(minutes=1),
        )  # fmt: skip
        sizes = LimitsConfig(queue=dice.choice((1, 4, 8)), capture_at=dice.choice((1, 300, 10**9)))
        config = Config(NodeConfig(), price=price, limits=sizes, ledger=LedgerConfig(accepted))
        known = dice.sample(range(number), min(number, dice.choice((1, 1, 2)))) if number else [1]
        friends = tuple(signer(f"node{one}").did for one in known)
        where = f"10.{1 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}:7700"
        return Shop(config, friends, where, dice.choice((1, 1, 2)), dice.choice((50, 200, 600, 1_500)))

    def shopping(self) -> Shopping:
        """A buyer's list."""
        dice = self.dice
        stake = Stake(dice.choice((BidClass.ON_DEMAND, BidClass.INTERRUPTIBLE)))
        wish = Wish("a cat", stake=stake, width=8, height=8, steps=dice.randrange(2, 9), guidance_milli=1_000, seed=7)
        knows = tuple(signer(f"node{n}").did for n in dice.sample(range(self.sellers), min(2, self.sellers)))
        ledger = signer(f"bank{dice.randrange(self.banks)}").did
        begins = dice.randrange(15_000, max(15_001, self.quiet_ms // 2))
        pictures = dice.randrange(1, self.pictures + 1)
        share = dice.choice((300, 600, 1_000, 1_000))
        return Shopping(wish, pictures, dice.randrange(1, 4), ledger, knows, begins, dice.choice((20_000, 40_000)),
                        dice.choice((0, 0, 1)), share)  # fmt: skip


def story(seed: int, **fixed: Any) -> Story:
    """The story of a seed: a dozen nodes, in any weather and company."""
    dice = Random(seed)
    values: dict[str, Any] = {
        "sellers": dice.randrange(4, 12), "buyers": dice.randrange(1, 5), "banks": dice.choice((1, 2, 2)),
        "weather": dice.choice(WEATHERS), "heal_ms": dice.choice((30_000, 90_000)),
        "parted": dice.choice(((0, 0), (0, 0), (5_000, 60_000), (30_000, 80_000))),
        "skew_ms": dice.choice((0, 0, limits.SKEW_MS // 3)), "pictures": dice.choice((2, 3, 6)),
        "stops": dice.choice((0, 50, 200)), "deaths": dice.choice((0, 0, 1, 2)),
    }  # fmt: skip
    if dice.random() < 0.5:
        liars = (*cheats.PROVIDERS, *market_cheats.LIARS)
        values["cheating_sellers"] = tuple(dice.choice(liars) for _ in range(dice.randrange(1, 3)))
    if dice.random() < 0.3:
        values["cheating_buyers"] = (dice.choice(cheats.CLIENTS),)
    return Story(seed, **{**values, **fixed})
