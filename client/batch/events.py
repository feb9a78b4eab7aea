"""What a batch tells its user. Rule: an event is told only after the wallet has it on disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LaneOpened:
    """A lease was taken: with whom, and the most that it can cost."""

    provider: str
    cap: int


@dataclass(frozen=True, slots=True)
class LaneRefused:
    """A lease came to nothing; nothing was spent."""

    provider: str
    why: str


@dataclass(frozen=True, slots=True)
class LaneLost:
    """A provider is given up: what it had under way goes on elsewhere, and nothing more is signed for it."""

    provider: str
    why: str
    pictures: int


@dataclass(frozen=True, slots=True)
class LaneSettled:
    """A lease is settled, and has cost so much."""

    provider: str
    pictures: int
    captured: int


@dataclass(frozen=True, slots=True)
class PictureHere:
    """A picture is paid and here."""

    place: int
    provider: str
    price: int
    lease: bytes
    job: bytes


@dataclass(frozen=True, slots=True)
class SecondTry:
    """A picture that is late elsewhere is drawn here too; whichever is whole first is bought."""

    place: int
    provider: str


@dataclass(frozen=True, slots=True)
class TryFailed:
    """A try at a picture came to nothing."""

    place: int
    provider: str
    why: str


@dataclass(frozen=True, slots=True)
class WentOn:
    """A picture that was left undone goes on here, after so many of its steps."""

    place: int
    provider: str
    done: int
    steps: int


BatchEvent = LaneOpened | LaneRefused | LaneLost | LaneSettled | PictureHere | SecondTry | TryFailed | WentOn
