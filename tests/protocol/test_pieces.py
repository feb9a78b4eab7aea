"""A picture in pieces: none dearer than the window, together the quote; and what class and notice make of a price."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import limits, pricing
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Adapter,
    BidClass,
    Head,
    Isolation,
    JobLimits,
    LedgerRef,
    ModelOffer,
    ModelState,
    Offer,
    Precision,
    PriceSheet,
    Scheduler,
    Spec,
    Task,
)
from gpufair.protocol.pricing import LINES, picture_due, piece, pieces, quote, smallest_window

MODEL = bytes(32)
SHEET = PriceSheet(MODEL, 10**6, 500_000, 700, 9, 100, 40)
JOB = Spec(Task.TEXT_TO_IMAGE, MODEL, Scheduler.DDIM, Precision.EXACT, 64, 64, 20, 1, guided=False)
STEP, DECODED = 4_096, 2_048
"""What one step and the decoding of that picture cost."""


def an_offer(**changes: object) -> Offer:
    did = KeySigner.from_seed(bytes(32)).did
    plain = Offer(
        Head(did, ("*",), bytes(16), 0, 1), 1, bytes(32), (), 1, 1, (Task.TEXT_TO_IMAGE,), (Scheduler.DDIM,),
        (Precision.EXACT,), (BidClass.ON_DEMAND,), (), (), (LedgerRef(did, "l:1"),), Isolation.NONE, (),
        JobLimits(64 * 64, 50, 4, 1), 10**6, 1, "",
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "window", "every", "ends"),
    [
        (JOB, 20 * STEP + DECODED, 0, (20,)),
        (JOB, 20 * STEP + DECODED - 1, 0, (19, 20)),
        (JOB, 7 * STEP, 0, (7, 14, 20)),
        (JOB, 6 * STEP, 0, (6, 12, 18, 20)),
        (JOB, 10 * STEP, 4, (4, 8, 12, 16, 20)),
        (JOB, STEP + DECODED, 0, tuple(range(1, 21))),
        (JOB, STEP + DECODED - 1, 0, ()),
        (replace(JOB, done=15), 7 * STEP, 0, (20,)),
        (replace(JOB, done=15), 3 * STEP, 0, (18, 20)),
        (replace(JOB, steps=1), STEP, 0, ()),
    ],
)
def test_worked_examples(spec: Spec, window: int, every: int, ends: tuple[int, ...]) -> None:
    assert pieces(spec, SHEET, window, every) == ends


jobs = st.builds(
    lambda width, height, steps, done, guided, task, loras: Spec(
        task, MODEL, Scheduler.DDIM, Precision.EXACT, width, height, steps, 1, guided,
        tuple(Adapter(bytes([n]) * 32, 1000) for n in range(loras)), done=min(done, steps - 1),
    ),
    st.integers(8, 4096), st.integers(8, 4096), st.integers(1, 120), st.integers(0, 100), st.booleans(),
    st.sampled_from([task for task in Task if task]), st.integers(0, 2),
)  # fmt: skip
sheets = st.builds(
    PriceSheet, st.just(MODEL), st.integers(1, limits.RATE_MAX), st.integers(0, limits.RATE_MAX), st.just(0),
    st.integers(0, 10**9), st.just(0),
)  # fmt: skip


@given(jobs, sheets, st.floats(0, 1.2), st.integers(0, 30))
def test_pieces_fit_the_window_and_add_up_to_the_quote(spec: Spec, sheet: PriceSheet, share: float, every: int) -> None:
    whole = quote(spec, sheet, first=False).increment
    window = int(whole * share)
    ends = pieces(spec, sheet, window, every)
    if not ends:
        assert window < smallest_window(spec, sheet)
        return
    assert ends[-1] == spec.steps
    prices = [piece(spec, sheet, a, b, whole=b == spec.steps) for a, b in itertools.pairwise((spec.done, *ends))]
    assert sum(prices) == whole
    assert all(0 < price <= window for price in prices)
    lengths = [b - a for a, b in itertools.pairwise((spec.done, *ends))]
    exact = spec.width * spec.height * (2 if spec.guided else 1) * sheet.per_step_megapixel
    assert all(0 < length <= (every or spec.steps) for length in lengths) or exact < 10**6, (
        "but steps that cost nothing"
    )


@given(jobs, sheets, st.data())
def test_what_was_done_elsewhere_costs_nothing_here(spec: Spec, sheet: PriceSheet, data: st.DataObject) -> None:
    fresh = replace(spec, done=0)
    cut = data.draw(st.integers(0, spec.steps - 1))
    rest = quote(replace(spec, done=cut), sheet, first=False).increment
    before = picture_due(fresh, sheet, cut)
    assert picture_due(replace(spec, done=cut), sheet, cut) == 0
    # Two providers together round up twice, and an input is encoded, an adapter loaded, at both.
    again = rest + before - quote(fresh, sheet, first=False).increment
    lines = sum(line.amount for line in quote(fresh, sheet, first=False).lines if line.line in {"encode", "adapters"})
    assert again in ({0, 1} if not cut else {lines, lines + 1})


@pytest.mark.parametrize(
    ("bid_class", "notice_ms", "share"),
    [
        (BidClass.ON_DEMAND, 60_000, 1.0),
        (BidClass.ON_DEMAND, 0, 0.8),
        (BidClass.ON_DEMAND, 30_000, 0.9),
        (BidClass.RESERVED, 60_000, 1.0),
        (BidClass.INTERRUPTIBLE, 60_000, 0.4),
        (BidClass.INTERRUPTIBLE, 0, 0.32),
    ],
)
def test_short_notice_and_the_interruptible_class_are_cheaper(
    bid_class: BidClass, notice_ms: int, share: float
) -> None:
    model = ModelOffer(MODEL, "m", "f", "", ModelState.CACHED, SHEET)
    offer = an_offer(models=(model,), floor_milli=400, notice_max_ms=60_000, notice_discount_milli=200)
    ask = pricing.asked(offer, model, bid_class, notice_ms)
    for line in LINES:
        assert 0 <= getattr(ask, line) - getattr(SHEET, line) * share < 1


def test_an_offer_without_notice_asks_its_sheet_and_no_step_is_free() -> None:
    cheap = PriceSheet(MODEL, 1, 0, 0, 0, 0)
    model = ModelOffer(MODEL, "m", "f", "", ModelState.CACHED, cheap)
    offer = an_offer(models=(model,), floor_milli=0)
    assert pricing.asked(offer, model, BidClass.ON_DEMAND, 0) == cheap
    assert pricing.asked(offer, model, BidClass.INTERRUPTIBLE, 0).per_step_megapixel == 1


@pytest.mark.parametrize(("lasts_ms", "price"), [(1_000, 40), (1_001, 80), (60_000, 2_400)])
def test_every_second_begun_of_a_held_worker_is_paid(lasts_ms: int, price: int) -> None:
    assert pricing.reserved(SHEET, lasts_ms) == price
