"""What is to be done next. Rule: a decision names everything that whoever carries it out has to write down first."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.client.batch.lanes import Lane


@dataclass(frozen=True, slots=True)
class Take:
    """Take a lease of the lane's cap with the lane's seller."""

    lane: Lane


@dataclass(frozen=True, slots=True)
class Order:
    """Order a picture in a lane; `second`: another lane is at it too, and whichever is whole first is bought."""

    lane: Lane
    place: int
    second: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Sign nothing more for a picture in a lane, and have it stopped: it was bought elsewhere."""

    lane: Lane
    place: int


@dataclass(frozen=True, slots=True)
class Close:
    """Have a lane settled: it gets no more pictures."""

    lane: Lane


Decision = Take | Order | Drop | Close
