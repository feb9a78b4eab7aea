"""Pictures dealt out in thought. Rule: each in turn goes to whoever will have it soonest.

Pure. What comes of it decides who gets the next picture, and whom to take a lease with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gpufair.client.batch.lanes import Lane, Seller

LOOK_AHEAD = 1_000
"""Pictures that are dealt out at most: who gets the next ones does not depend on those far behind."""


@dataclass
class Hand:
    """Somebody who draws, or would: when it has time, and what it is dealt."""

    seller: Seller
    free_at: float
    seconds: Callable[[int], float]
    """How long a picture takes here, by its place."""
    lane: Lane | None = None
    """None: a lease that could be taken."""
    left: int | None = None
    """The money that there is for more pictures; None: as much as it takes."""
    only: frozenset[int] | None = None
    """The pictures that may be dealt here; None: any."""
    dealt: list[int] = field(default_factory=list)

    def takes(self, place: int, may_try: Callable[[Seller, int], bool]) -> bool:
        """Whether a picture can be dealt here."""
        price = self.seller.price(place)
        if price is None or (self.only is not None and place not in self.only):
            return False
        return (self.left is None or price <= self.left) and may_try(self.seller, place)

    def give(self, place: int) -> None:
        """Deal a picture here."""
        self.free_at += self.seconds(place)
        self.dealt.append(place)
        if self.left is not None:
            self.left -= self.seller.price(place) or 0


def deal(
    hands: Sequence[Hand],
    places: Iterable[int],
    may_try: Callable[[Seller, int], bool],
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Deal out the pictures at these places, in this order, until it is `enough`."""
    for place, _ in zip(places, range(LOOK_AHEAD), strict=False):
        if enough():
            return
        able = [hand for hand in hands if hand.takes(place, may_try)]
        if able:
            min(able, key=lambda hand: hand.free_at + hand.seconds(place)).give(place)
