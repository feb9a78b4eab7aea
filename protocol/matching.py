"""Can it run, and how good is it? Rule: feasible first, every reason kept; only then rank. Both sides ask this."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.messages import (
    AdapterOffer,
    Bid,
    BidClass,
    JobLimits,
    ModelOffer,
    ModelState,
    Offer,
    Precision,
    PriceSheet,
    Reason,
    ReasonCode,
    Scheduler,
    Spec,
    Task,
)
from gpufair.protocol.pricing import LINES, Quote, asked, quote, smallest_window

Verdict = tuple[Reason, ...]
"""Every reason against; empty means feasible."""


class Entry(Protocol):
    """A model that is sold, price aside. No schedulers of its own: all of the seller's."""

    @property
    def digest(self) -> bytes: ...  # noqa: D102
    @property
    def state(self) -> ModelState: ...  # noqa: D102
    @property
    def tasks(self) -> tuple[Task, ...]: ...  # noqa: D102
    @property
    def schedulers(self) -> tuple[Scheduler, ...]: ...  # noqa: D102


class Catalogue(Protocol):
    """What a seller can run, prices aside: an offer says it to buyers, and the seller's own stock to itself."""

    @property
    def limits(self) -> JobLimits: ...  # noqa: D102
    @property
    def tasks(self) -> tuple[Task, ...]: ...  # noqa: D102
    @property
    def schedulers(self) -> tuple[Scheduler, ...]: ...  # noqa: D102
    @property
    def precisions(self) -> tuple[Precision, ...]: ...  # noqa: D102
    @property
    def models(self) -> Sequence[Entry]: ...  # noqa: D102
    @property
    def adapters(self) -> Sequence[AdapterOffer]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer that can run a job, what it would cost, and the sheet that a bid would have for that."""

    offer: Signed[Offer]
    model: ModelOffer
    quote: Quote
    sheet: PriceSheet


def model_offer(offer: Offer, digest: bytes) -> ModelOffer | None:
    """The offer's entry for a model, if it sells it."""
    return next((m for m in offer.models if m.digest == digest), None)


def feasible_size(spec: Spec, bounds: JobLimits) -> Verdict:
    """Whether a job's size is within bounds, with the numbers where it is not."""
    reasons = []
    for side in (spec.width, spec.height):
        if side % limits.SIDE_MULTIPLE or not limits.SIDE_MIN <= side <= limits.SIDE_MAX:
            detail = f"sides are multiples of {limits.SIDE_MULTIPLE} from {limits.SIDE_MIN} to {limits.SIDE_MAX}"
            reasons.append(Reason(ReasonCode.SIZE_NOT_SUPPORTED, side, limits.SIDE_MAX, "pixels", detail))
    for code, wanted, limit, unit in (
        (ReasonCode.SIZE_TOO_LARGE, spec.width * spec.height, bounds.pixels, "pixels"),
        (ReasonCode.STEPS_TOO_MANY, spec.steps, bounds.steps, "steps"),
        (ReasonCode.COUNT_TOO_LARGE, spec.count, bounds.count, "pictures"),
    ):
        if wanted > limit or wanted < 1:
            reasons.append(Reason(code, wanted, limit, unit))
    if spec.done and not (spec.count == 1 and spec.done < spec.steps):
        detail = "one picture goes on from a checkpoint, and some of its steps are left"
        reasons.append(Reason(ReasonCode.CHECKPOINT_WRONG, spec.done, max(0, spec.steps - 1), "steps done", detail))
    if spec.task is Task.TEXT_TO_IMAGE and spec.skip:
        detail = "a picture that begins from noise skips no step"
        reasons.append(Reason(ReasonCode.STEPS_TOO_MANY, spec.skip, 0, "steps skipped", detail))
    elif spec.skip and spec.skip + spec.steps > limits.STEPS_MAX:
        whole, most = spec.skip + spec.steps, limits.STEPS_MAX
        reasons.append(Reason(ReasonCode.STEPS_TOO_MANY, whole, most, "steps", "those that are skipped included"))
    return tuple(reasons)


def feasible(seller: Catalogue, spec: Spec) -> Verdict:
    """Whether a seller can run the job at all, price aside. An offer is such a seller's catalogue."""
    reasons = list(feasible_size(spec, seller.limits))
    model = next((m for m in seller.models if m.digest == spec.model and m.state is not ModelState.ABSENT), None)
    if model is None:
        reasons.append(Reason(ReasonCode.MODEL_NOT_OFFERED, detail=spec.model.hex()[:16]))
    tasks = [task for task in seller.tasks if model is None or task in model.tasks]
    schedulers = [one for one in seller.schedulers if model is None or one in (model.schedulers or seller.schedulers)]
    for wanted, sold, code in (
        (spec.task, tasks, ReasonCode.TASK_NOT_OFFERED),
        (spec.scheduler, schedulers, ReasonCode.SCHEDULER_NOT_OFFERED),
        (spec.precision, seller.precisions, ReasonCode.PRECISION_NOT_OFFERED),
    ):
        if wanted not in sold:
            there_are = ", ".join(one.name.lower() for one in sold) or "none"
            reasons.append(Reason(code, detail=f"{wanted.name.lower()}; there are: {there_are}"))
    reasons += _adapter_reasons(seller, spec)
    return tuple(reasons)


def _adapter_reasons(seller: Catalogue, spec: Spec) -> list[Reason]:
    """Each adapter must be there, fit the model, and be named once."""
    there = {adapter.digest: adapter.models for adapter in seller.adapters}
    wanted, problems = [adapter.digest for adapter in spec.adapters], {}
    for place, digest in enumerate(wanted):
        if digest in wanted[:place]:
            problems[place] = f"{digest.hex()[:16]} is named twice"
        elif spec.model not in there.get(digest, ()):
            problems[place] = f"{digest.hex()[:16]} {'does not fit the model' if digest in there else 'is not here'}"
    if not problems:
        return []
    good, detail = len(wanted) - len(problems), "; ".join(problems.values())
    return [Reason(ReasonCode.ADAPTERS_NOT_OFFERED, len(wanted), good, "adapters", detail)]


def acceptable(offer: Signed[Offer], bid: Bid, *, cap_max: int) -> Verdict:
    """Whether a bid's terms are within the offer it answers. Capacity, time and policy are the provider's own check."""
    terms, reasons = offer.doc, []
    model = model_offer(terms, bid.sheet.model)
    if model is None or model.state is ModelState.ABSENT:
        reasons.append(Reason(ReasonCode.MODEL_NOT_OFFERED, detail=bid.sheet.model.hex()[:16]))
    else:
        reasons += _price_reasons(bid, asked(terms, model, bid.bid_class, bid.notice_ms))
    if bid.notice_ms > terms.notice_max_ms:
        reasons.append(Reason(ReasonCode.NOTICE_NOT_OFFERED, bid.notice_ms, terms.notice_max_ms, "ms"))
    if bid.bid_class not in terms.classes:
        reasons.append(Reason(ReasonCode.CLASS_NOT_SOLD, detail=BidClass(bid.bid_class).name.lower()))
    if bid.ledger not in {ref.did for ref in terms.ledgers}:
        reasons.append(Reason(ReasonCode.LEDGER_NOT_ACCEPTED, detail=bid.ledger))
    if bid.worker_image not in {image.digest for image in terms.worker_images}:
        reasons.append(Reason(ReasonCode.IMAGE_NOT_OFFERED, detail=bid.worker_image.hex()[:16]))
    if bid.window > terms.window_max:
        reasons.append(Reason(ReasonCode.WINDOW_TOO_LARGE, bid.window, terms.window_max, "micro-credits"))
    if bid.cap > cap_max:
        reasons.append(Reason(ReasonCode.CAP_TOO_HIGH, bid.cap, cap_max, "micro-credits"))
    return tuple(reasons)


def _price_reasons(bid: Bid, ask: PriceSheet) -> list[Reason]:
    """A bid may pay more than was asked, line by line, never less; held seconds are for those who have some held."""
    lines = LINES if bid.bid_class is BidClass.RESERVED else LINES[:-1]
    return [
        Reason(ReasonCode.PRICE_TOO_LOW, getattr(bid.sheet, line), getattr(ask, line), "micro-credits", line)
        for line in lines
        if getattr(bid.sheet, line) < getattr(ask, line)
    ]


def affordable(spec: Spec, lease: Bid, *, committed: int, spare: int, first: bool) -> Verdict:
    """Whether a job fits the lease's money: every piece of a picture within the window, everything within the cap.

    `committed` is what all the lease's other jobs can still cost, paid or not; `spare` is unlocked money for none of
    them: it pays up-front lines and nothing else.
    """
    price = quote(spec, lease.sheet, first=first)
    limited: list[tuple[ReasonCode, int, int]] = [
        (ReasonCode.WINDOW_TOO_SMALL, smallest_window(spec, lease.sheet), lease.window),
        (ReasonCode.WINDOW_TOO_SMALL, price.upfront, lease.window),
        (ReasonCode.PRICE_ABOVE_CAP, committed + with_spare(price, spare), lease.cap),
    ]
    return tuple(
        # A hostile job can cost more than any amount that there is a field for.
        Reason(code, min(wanted, 2 * limits.AMOUNT_MAX), limit, "micro-credits")
        for code, wanted, limit in limited
        if wanted > limit
    )


def with_spare(price: Quote, spare: int) -> int:
    """What a job adds to what a lease's vouchers must be able to promise, when so much is unlocked for no job."""
    return price.increment * price.count + max(price.upfront, spare)


def usual_ask(offer: Offer, model: ModelOffer) -> PriceSheet:
    """What is asked of a bid on demand that wants no notice."""
    return asked(offer, model, BidClass.ON_DEMAND, 0)


def candidates(
    offers: Iterable[Signed[Offer]], spec: Spec, bid: Callable[[Offer, ModelOffer], PriceSheet] = usual_ask
) -> tuple[list[Candidate], list[tuple[Signed[Offer], Verdict]]]:
    """The offers that can run a job, cheapest first (the older of two breaks a tie), and the others with reasons.

    `bid` says what is paid at each.
    """
    good, bad = [], []
    for offer in offers:
        verdict = feasible(offer.doc, spec)
        model = model_offer(offer.doc, spec.model)
        if verdict or model is None:
            bad.append((offer, verdict))
            continue
        sheet = bid(offer.doc, model)
        price = quote(spec, sheet, first=True)
        needed = max(smallest_window(spec, sheet), price.upfront)
        if needed > offer.doc.window_max:
            short = Reason(ReasonCode.WINDOW_TOO_SMALL, needed, offer.doc.window_max, "micro-credits")
            bad.append((offer, (short,)))
            continue
        good.append(Candidate(offer, model, price, sheet))
    good.sort(key=lambda c: (c.quote.total, c.offer.doc.head.issued_at_ms, c.offer.id))
    return good, bad
