"""Lanes. Rule: a lane is one lease with one provider, and what it may still cost is known at every moment.

Pure. Money is whole micro-credits; times are seconds of a clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

MEGAPIXEL = 1_000_000
FRESH = 0.3
"""How much the newest measurement counts against all before it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a batch: its place, and its work in step-pixels."""

    place: int
    work: int


@dataclass(frozen=True, slots=True)
class Seller:
    """Somebody who could draw: what each picture costs there (None: not to be had), and how fast it says it is."""

    did: str
    prices: tuple[int | None, ...]
    entry: int = 0
    """What a lease costs once, however many pictures are bought under it."""
    pace: float = 0.0
    """Seconds for a step-megapixel; 0: it doesn't say."""
    start: float = 1.0
    """Seconds until a new lease brings its first step: bid, hold, and loading a model that is not warm."""
    lanes: int = 1
    """Leases that it could work on at the same time."""

    def price(self, place: int) -> int | None:
        """What a picture costs here, entry aside."""
        return self.prices[place]


class LaneState(StrEnum):
    """Where a lane stands."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    """It gets no more pictures, and its provider is asked to settle."""
    OVER = "over"
    """Nothing more is signed under it."""


@dataclass
class Try:
    """A picture that is drawn in a lane: since when it has been there, and what it costs there."""

    place: int
    since: float
    price: int
    signed: float = 0.0
    """Since when it is signed for (0: not yet): nobody else can be paid for this picture until its key was given up."""


@dataclass
class Lane:
    """A lease that pictures are drawn under, one after the other."""

    number: int
    seller: Seller
    cap: int
    """The most that it can cost."""
    state: LaneState = LaneState.OPENING
    tries: list[Try] = field(default_factory=list)
    """What is under way, in the order in which it was ordered."""
    dropped: list[Try] = field(default_factory=list)
    """What was bought elsewhere, and has not ended here yet: its money is still promised."""
    done: int = 0
    spent: int = 0
    """What its pictures have cost, those that came to nothing included."""
    signed: int = 0
    """Once it is over: what its vouchers promise, and so what it can still cost."""
    idle_since: float = 0.0
    """Since when its provider could be at work on the first of its pictures."""

    @property
    def stake(self) -> int:
        """What of the budget this lane has taken: all that it can still cost, or has."""
        return self.signed if self.state is LaneState.OVER else self.cap

    @property
    def left(self) -> int:
        """What is not promised to any picture."""
        entry = 0 if self.spent else self.seller.entry
        return self.cap - entry - self.spent - sum(one.price for one in (*self.tries, *self.dropped))

    @property
    def is_alive(self) -> bool:
        """Whether it draws, or soon will."""
        return self.state in (LaneState.OPENING, LaneState.OPEN)

    def can_pay(self, place: int) -> bool:
        """Whether a picture is sold here, and the lane's money is enough for it."""
        price = self.seller.price(place)
        return price is not None and price <= self.left

    def finish(self, now: float, seconds: Callable[[int], float]) -> dict[int, float]:
        """When each picture under way will be here, where a picture takes so many `seconds`.

        One that takes longer than expected is expected to take twice as much longer than it has by now.
        """
        finish, at = {}, now + (self.seller.start if self.state is LaneState.OPENING else 0.0)
        for one in self.tries:
            whole = seconds(one.place)
            if one is self.tries[0]:
                over = now - max(one.since, self.idle_since) - whole
                at += 2 * over if over > 0 else -over
            else:
                at += whole
            finish[one.place] = at
        return finish


def paced(before: float, seconds: float, work: int) -> float:
    """The pace, once a picture of so much work took so long; `before`: what it was, 0 if this is the first."""
    pace = seconds * MEGAPIXEL / max(1, work)
    return FRESH * pace + (1 - FRESH) * before if before else pace
