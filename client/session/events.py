"""What a session tells its user. Rule: an event is told only after the wallet has it on disk."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol.messages import JobEnded, Reason, Receipt


@dataclass(frozen=True, slots=True)
class BidDeclined:
    """A provider declined a bid, with these reasons; `then` says what comes of it."""

    provider: str
    reasons: tuple[Reason, ...]
    then: str


@dataclass(frozen=True, slots=True)
class JobPlaced:
    """A job is written down and on its way; the lease can pay its price."""

    job: bytes
    total: int


@dataclass(frozen=True, slots=True)
class JobAccepted:
    """The provider has signed that it takes the job, at our price."""

    job: bytes
    upfront: int
    total: int


@dataclass(frozen=True, slots=True)
class JobDeclined:
    """The provider has signed why it doesn't take the job."""

    job: bytes
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step of a picture is done; step 0 is the noise it starts from."""

    job: bytes
    picture: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class PreviewSeen:
    """A small look at a picture on its way."""

    job: bytes
    picture: int
    step: int
    png: bytes


@dataclass(frozen=True, slots=True)
class PictureLocked:
    """A picture is here, encrypted, checked, and our lock for it is signed."""

    job: bytes
    picture: int
    amount: int


@dataclass(frozen=True, slots=True)
class PictureOpened:
    """A picture is paid and ours: the PNG that the receipt describes."""

    job: bytes
    picture: int
    png: bytes
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class CheckpointLocked:
    """A picture's state after so many steps is here, encrypted, checked, and our lock for it is signed."""

    job: bytes
    picture: int
    step: int
    amount: int


@dataclass(frozen=True, slots=True)
class CheckpointOpened:
    """The state after so many steps is paid and ours: from here the picture can go on, wherever."""

    job: bytes
    picture: int
    step: int


@dataclass(frozen=True, slots=True)
class JobOver:
    """The attempt ended before all was delivered; the provider has signed how."""

    job: bytes
    ended: JobEnded


@dataclass(frozen=True, slots=True)
class GoesOn:
    """What is left of a job is ordered elsewhere, and the provider before gets no more signatures for it."""

    job: bytes
    why: str
    before: str
    """The did of the provider that it was taken from ..."""
    provider: str
    """... and of the one where it goes on."""
    picture: int
    """The first picture that is left."""
    step: int
    """The step that it goes on from; 0: it begins anew."""
    steps: int
    same_profile: bool | None
    """Whether the new provider makes every bit as the one before did; None: it does not say on what it draws."""


@dataclass(frozen=True, slots=True)
class ReserveOrdered:
    """A worker is to be held, for so much; the order is written down and on its way."""

    order: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class WorkerReserved:
    """A worker is held for us from then until then, and paid for."""

    order: bytes
    from_ms: int
    until_ms: int
    amount: int


@dataclass(frozen=True, slots=True)
class ReserveDeclined:
    """The provider has signed why it holds no worker; nothing was paid."""

    order: bytes
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class ReservationEnded:
    """The provider holds the worker no longer; `credit` goes back against what is due next."""

    order: bytes
    credit: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Cheated:
    """The provider broke the deal, in a way that the wallet holds the evidence of. We sign nothing more for it."""

    job: bytes
    what: str


@dataclass(frozen=True, slots=True)
class LeaseClosing:
    """The provider settles the lease: no more jobs under it."""

    why: str


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The stream broke; a new one is being opened and goes on where this one was."""

    why: str


Event = (
    BidDeclined
    | JobPlaced
    | JobAccepted
    | JobDeclined
    | StepDone
    | PreviewSeen
    | PictureLocked
    | PictureOpened
    | CheckpointLocked
    | CheckpointOpened
    | JobOver
    | GoesOn
    | ReserveOrdered
    | WorkerReserved
    | ReserveDeclined
    | ReservationEnded
    | Cheated
    | LeaseClosing
    | ConnectionLost
)
