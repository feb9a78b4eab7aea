"""What a job costs. Rule: the price follows from (spec, frozen price sheet, first job or not) alone, line by line.

Buyer and seller call the same function and compare; nothing else may name a price. Work is priced a picture at a time
and rounded up there, so every delivery of a job costs the same and the deliveries add up to the quote. Only steps that
are computed are work: those that a picture skips, because it begins from an input, or goes on from a checkpoint, are
not. To begin from an input it is encoded first, which is as much work as to decode a picture of its size.

A picture that costs more than the credit window is sold in pieces: checkpoints, each with the steps since the last one,
and then the picture (docs/payment.md, rule 4). Their prices are differences of one sum, so they add up to the quote.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from enum import StrEnum

from gpufair.protocol.messages import BidClass, ModelOffer, ModelState, Offer, PriceSheet, Spec, Task
from gpufair.protocol.units import Credits, per_million, show, step_pixels

MILLI = 1_000
LINES = (
    "per_step_megapixel",
    "per_decoded_megapixel",
    "per_cold_load",
    "per_adapter",
    "minimum",
    "per_reserved_second",
)
"""What a price sheet has a rate for."""


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
    per_picture, count = _picture_lines(spec, sheet), spec.count
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
    """The sheet of an offer before class and notice: loading a model that is warm costs nothing."""
    return replace(model.sheet, per_cold_load=0) if model.state is ModelState.WARM else model.sheet


def asked(offer: Offer, model: ModelOffer, bid_class: BidClass, notice_ms: int) -> PriceSheet:
    """The least that a bid of this class, with this notice, pays under an offer, line by line.

    The shorter the notice, the cheaper; an interruptible bid may go down to the floor. Rounded up, like every price.
    """
    off = 0
    if offer.notice_max_ms:
        off = offer.notice_discount_milli * max(0, offer.notice_max_ms - notice_ms) // offer.notice_max_ms
    share = (MILLI - off) * (offer.floor_milli if bid_class is BidClass.INTERRUPTIBLE else MILLI)
    return scaled(frozen_sheet(model), share)


def scaled(sheet: PriceSheet, per_million_of: int) -> PriceSheet:
    """A sheet with every line at so many millionths of what it was; a step costs something, whatever is left of it."""
    step, *others = (per_million(getattr(sheet, line), per_million_of) for line in LINES)
    return PriceSheet(sheet.model, max(1, step), *others)


def reserved(sheet: PriceSheet, lasts_ms: int) -> Credits:
    """What it costs to have a worker held for so long: each second begun."""
    return Credits(-(-lasts_ms // 1_000) * sheet.per_reserved_second)


# --- pieces ----------------------------------------------------------------------------------------------------------


def picture_due(spec: Spec, sheet: PriceSheet, step: int, *, whole: bool = False) -> Credits:
    """What is due for one picture of a job once its first `step` steps are done; with `whole`, decoded too.

    Steps that were done elsewhere cost nothing here: due(spec.done) is 0. What a picture needs before its first step
    (an input encoded, adapters) falls due with that.
    """
    if step <= spec.done:
        return Credits(0)
    denoise, decode, *first = _picture_lines(replace(spec, steps=step), sheet)
    return Credits(denoise.amount + sum(line.amount for line in first) + (decode.amount if whole else 0))


def piece(spec: Spec, sheet: PriceSheet, first_step: int, last_step: int, *, whole: bool) -> Credits:
    """The price of a delivery: what is due after it, less what was due before."""
    due = picture_due(spec, sheet, last_step, whole=whole)
    return Credits(due - picture_due(spec, sheet, first_step))


def pieces(spec: Spec, sheet: PriceSheet, window: int, every: int = 0) -> tuple[int, ...]:
    """The last steps of a picture's deliveries, none of them dearer than the window; the last one is the picture's.

    As few as the window allows, and none of more than `every` steps if that is given, but where those cost nothing:
    each piece has a price. Empty: no step fits the window.
    """
    start, steps, ends = spec.done, spec.steps, list[int]()
    most = every or steps
    while steps - start > most or piece(spec, sheet, start, steps, whole=True) > window:
        affordable = picture_due(spec, sheet, start) + window
        candidates = range(start + 1, min(start + most, steps - 1) + 1)
        fits = bisect_right(candidates, affordable, key=lambda step: picture_due(spec, sheet, step))
        if not fits:
            return ()
        end = candidates[fits - 1]
        while end < steps - 1 and not piece(spec, sheet, start, end, whole=False):
            end += 1
        if not piece(spec, sheet, start, end, whole=False):
            break
        start = end
        ends.append(end)
    if ends and not piece(spec, sheet, start, steps, whole=True):
        ends.pop()
    # A step that costs nothing can have led to one that costs too much.
    ends = [*ends, steps]
    parts = zip((spec.done, *ends), ends, strict=False)
    return tuple(ends) if all(piece(spec, sheet, a, b, whole=b == steps) <= window for a, b in parts) else ()


def smallest_window(spec: Spec, sheet: PriceSheet) -> Credits:
    """A window under which a picture can be sold for sure: step by step, the last one with its decoding."""
    _, decode, *first = _picture_lines(spec, sheet)
    step = picture_due(replace(spec, task=Task.TEXT_TO_IMAGE, adapters=()), sheet, spec.done + 1)
    before = sum(line.amount for line in first)
    alone = before + decode.amount if spec.steps - spec.done == 1 else max(before, decode.amount)
    return Credits(step + alone)


def _picture_lines(spec: Spec, sheet: PriceSheet) -> tuple[QuoteLine, QuoteLine, QuoteLine, QuoteLine]:
    computed, pixels = max(0, spec.steps - spec.done), spec.width * spec.height
    work = step_pixels(steps=computed, width=spec.width, height=spec.height, count=1, guided=spec.guided)
    encoded = 0 if spec.task is Task.TEXT_TO_IMAGE else pixels
    adapters, step_rate, pixel_rate = len(spec.adapters), sheet.per_step_megapixel, sheet.per_decoded_megapixel
    return (
        QuoteLine(Line.DENOISE, work, "step-pixels", step_rate, per_million(work, step_rate)),
        QuoteLine(Line.DECODE, pixels, "pixels", pixel_rate, per_million(pixels, pixel_rate)),
        QuoteLine(Line.ENCODE, encoded, "pixels", pixel_rate, per_million(encoded, pixel_rate)),
        QuoteLine(Line.ADAPTERS, adapters, "adapters", sheet.per_adapter, Credits(adapters * sheet.per_adapter)),
    )
