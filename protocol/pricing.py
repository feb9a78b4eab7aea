"""What a job costs. Rule: the price follows from (spec, frozen price sheet, first job or not) alone, line by line.

Buyer and seller call the same function and compare; nothing else may name a price. Work is priced a picture at a time
and rounded up there, so every delivery of a job costs the same and the deliveries add up to the quote. Only steps that
are computed are work: those that a picture skips, because it begins from an input, are not. To begin from one it is
encoded first, which is as much work as to decode a picture of its size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from gpufair.protocol.messages import ModelOffer, ModelState, PriceSheet, Spec, Task
from gpufair.protocol.units import Credits, per_million, show, step_pixels


class Line(StrEnum):
    """What a line of a quote is for."""

    DENOISE = "denoise"
    DECODE = "decode"
    ENCODE = "encode"
    ADAPTERS = "adapters"
    COLD_LOAD = "cold load"
    MINIMUM = "minimum"


@dataclass(frozen=True, slots=True)
class QuoteLine:
    """One line: `quantity` in `unit` at `rate` (micro-credits, per million of them where the unit says so)."""

    line: Line
    quantity: int
    unit: str
    rate: int
    amount: Credits

    def __str__(self) -> str:
        return f"{self.line.value}: {self.quantity:,} {self.unit} x {self.rate:,} = {show(self.amount)}"


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one job. `upfront` is paid before the body goes out, `increment` with each of `count` deliveries."""

    lines: tuple[QuoteLine, ...]
    upfront: Credits
    increment: Credits
    count: int

    @property
    def total(self) -> Credits:
        """Everything that the job costs when all of it is delivered."""
        return Credits(self.upfront + self.increment * self.count)

    def due(self, delivered: int) -> Credits:
        """What is due once `delivered` pictures are there."""
        return Credits(self.upfront + self.increment * delivered)


def quote(spec: Spec, sheet: PriceSheet, *, first: bool) -> Quote:
    """The quote for a job; `first` says that no earlier job of the lease has been charged the cold load."""
    work = step_pixels(steps=spec.steps, width=spec.width, height=spec.height, count=1, guided=spec.guided)
    pixels = spec.width * spec.height
    encoded = 0 if spec.task is Task.TEXT_TO_IMAGE else pixels
    count, adapters = spec.count, len(spec.adapters)
    step_rate, pixel_rate = sheet.per_step_megapixel, sheet.per_decoded_megapixel
    per_picture = (
        QuoteLine(Line.DENOISE, work, "step-pixels", step_rate, per_million(work, step_rate)),
        QuoteLine(Line.DECODE, pixels, "pixels", pixel_rate, per_million(pixels, pixel_rate)),
        QuoteLine(Line.ENCODE, encoded, "pixels", pixel_rate, per_million(encoded, pixel_rate)),
        QuoteLine(Line.ADAPTERS, adapters, "adapters", sheet.per_adapter, Credits(adapters * sheet.per_adapter)),
    )
    increment = Credits(sum(line.amount for line in per_picture))
    cold = sheet.per_cold_load if first else 0
    top_up = max(0, sheet.minimum - increment * count)
    upfront_lines = (
        QuoteLine(Line.COLD_LOAD, 1, "load", cold, Credits(cold)),
        QuoteLine(Line.MINIMUM, 1, "top-up", top_up, Credits(top_up)),
    )
    lines = tuple(
        replace(line, quantity=line.quantity * count, amount=Credits(line.amount * count)) for line in per_picture
    )
    shown = tuple(line for line in lines + upfront_lines if line.amount)
    return Quote(shown, Credits(cold + top_up), increment, count)


def is_first(sheet: PriceSheet, jobs: int, dearest_upfront: int) -> bool:
    """Whether the next job of a lease is charged the cold load: no job so far has been, or it got it back.

    `jobs` is how many the lease has had, `dearest_upfront` the highest of their up-front lines, less what was credited
    back (both are signed facts).
    """
    return jobs == 0 or dearest_upfront < sheet.per_cold_load


def frozen_sheet(model: ModelOffer) -> PriceSheet:
    """The sheet that a bid under an offer freezes: loading a model that is warm costs nothing."""
    return replace(model.sheet, per_cold_load=0) if model.state is ModelState.WARM else model.sheet
