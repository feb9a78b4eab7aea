"""What of a job is made next. Rule: steps are sold in order and once; what was delivered says how far a job has come.

A picture that the window does not cover is cut into pieces, and one whose client wants checkpoints (docs/payment.md,
rule 4). Where it is cut follows from the job and its lease alone, so a node that was restarted goes on with the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpufair.protocol import pricing
from gpufair.protocol.messages import JobHeader, PriceSheet, Spec
from gpufair.protocol.units import Credits
from gpufair.provider.jobs.store import DeliveryDue

PICTURE = 0
"""The `step` of a delivery that is the picture itself."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The steps of a picture after `first_step` up to `last_step`; with its last step goes the picture, if `whole`."""

    picture: int
    first_step: int
    last_step: int
    whole: bool
    price: Credits

    @property
    def step(self) -> int:
        """What names its delivery."""
        return PICTURE if self.whole else self.last_step


def pieces_end(header: JobHeader, sheet: PriceSheet, window: int, *, carries: bool) -> tuple[int, ...]:
    """The last steps of a picture's pieces; empty if it can't be cut into the window.

    `carries`: a state of this model is all that the next step depends on. Others are sold whole or not at all.
    """
    spec = header.spec
    if carries:
        return pricing.pieces(spec, sheet, window, header.checkpoint_every)
    fits = pricing.piece(spec, sheet, spec.done, spec.steps, whole=True) <= window
    return (spec.steps,) if fits else ()


def following(spec: Spec, sheet: PriceSheet, ends: tuple[int, ...], delivered: Iterable[DeliveryDue]) -> Piece | None:
    """The piece that comes after what was delivered of a job; None if all was, or none can be."""
    steps = [(one.picture, one.step) for one in delivered]
    picture = sum(step == PICTURE for _, step in steps)
    if picture == spec.count:
        return None
    first = max((step for of, step in steps if of == picture), default=spec.done)
    last = next((end for end in ends if end > first), None)
    return None if last is None else _piece(spec, sheet, picture, first, last, whole=last == spec.steps)


def stopped(spec: Spec, sheet: PriceSheet, piece: Piece, step: int) -> Piece | None:
    """What of a piece is sold if it ends after `step`; None if none of it was done, or what was done costs nothing."""
    if not piece.first_step < step < spec.steps:
        return None
    part = _piece(spec, sheet, piece.picture, piece.first_step, step, whole=False)
    return part if part.price else None


def _piece(spec: Spec, sheet: PriceSheet, picture: int, first: int, last: int, *, whole: bool) -> Piece:
    return Piece(picture, first, last, whole, pricing.piece(spec, sheet, first, last, whole=whole))
