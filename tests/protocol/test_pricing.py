"""What a job costs: worked examples, and what must hold for every job and every sheet."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import limits
from gpufair.protocol.messages import (
    Adapter,
    ModelOffer,
    ModelState,
    Precision,
    PriceSheet,
    Scheduler,
    Spec,
    Task,
)
from gpufair.protocol.pricing import Line, frozen_sheet, is_first, quote
from gpufair.protocol.units import per_million

MODEL = bytes(32)


def sheet(step=0, decoded=0, cold=0, adapter=0, minimum=0):
    return PriceSheet(MODEL, step, decoded, cold, adapter, minimum)


def job(width=64, height=64, steps=20, count=1, guided=False, adapters=0, task=Task.TEXT_TO_IMAGE, skip=0):
    loras = tuple(Adapter(bytes([n]) * 32, 1000) for n in range(adapters))
    return Spec(task, MODEL, Scheduler.DDIM, Precision.EXACT, width, height, steps, count, guided, loras, skip)


@pytest.mark.parametrize(
    ("spec", "prices", "first", "upfront", "increment", "total"),
    [
        # 20 x 64 x 64 = 81,920 step-pixels at 1,000,000 a million; 4,096 pixels at 500,000 a million
        (job(), sheet(step=10**6), True, 0, 81_920, 81_920),
        (job(guided=True), sheet(step=10**6), True, 0, 163_840, 163_840),
        (job(count=3), sheet(step=10**6, decoded=500_000), True, 0, 83_968, 251_904),
        (job(), sheet(step=10**6, cold=700), True, 700, 81_920, 82_620),
        (job(), sheet(step=10**6, cold=700), False, 0, 81_920, 81_920),
        (job(), sheet(step=1, minimum=50), True, 49, 1, 50),  # 0.08192 is rounded up to 1, the rest is topped up
        (job(count=60), sheet(step=1, minimum=50), True, 0, 1, 60),
        (job(adapters=2), sheet(step=10**6, adapter=9), True, 0, 81_938, 81_938),
        # 12 steps of 20 are computed: 49,152 step-pixels; 4,096 pixels are decoded, and as many encoded
        (job(steps=12, skip=8, task=Task.IMAGE_TO_IMAGE), sheet(step=10**6, decoded=500_000), True, 0, 53_248, 53_248),
        (job(steps=12, task=Task.INPAINT, count=2), sheet(step=10**6, decoded=500_000), True, 0, 53_248, 106_496),
    ],
)
def test_worked_examples(spec, prices, first, upfront, increment, total):
    price = quote(spec, prices, first=first)
    assert (price.upfront, price.increment, price.total) == (upfront, increment, total)
    assert price.due(0) == upfront
    assert price.due(spec.count) == total


sheets = st.builds(
    sheet,
    step=st.integers(1, limits.RATE_MAX),
    decoded=st.integers(0, limits.RATE_MAX),
    cold=st.integers(0, 10**12),
    adapter=st.integers(0, 10**9),
    minimum=st.integers(0, 10**12),
)
jobs = st.builds(
    job,
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    steps=st.integers(1, limits.STEPS_MAX),
    count=st.integers(1, limits.COUNT_MAX),
    guided=st.booleans(),
    adapters=st.integers(0, 3),
    task=st.sampled_from([task for task in Task if task]),
    skip=st.integers(0, limits.STEPS_MAX),
)


@given(jobs, sheets, st.booleans())
def test_the_lines_add_up_and_every_picture_costs_the_same(spec, prices, first):
    price = quote(spec, prices, first=first)
    assert price.total == sum(line.amount for line in price.lines) == price.upfront + spec.count * price.increment
    assert price.total >= prices.minimum
    assert price.increment > 0
    assert all(type(line.amount) is int and line.amount > 0 for line in price.lines)
    dues = [price.due(n) for n in range(spec.count + 1)]
    assert {after - before for before, after in itertools.pairwise(dues)} == {price.increment}


@given(jobs, sheets)
def test_only_the_first_job_pays_the_cold_load(spec, prices):
    first, later = quote(spec, prices, first=True), quote(spec, prices, first=False)
    assert first.total - later.total == prices.per_cold_load
    assert first.increment == later.increment
    assert Line.COLD_LOAD not in {line.line for line in later.lines}


@given(jobs, sheets, st.integers(1, 500))
def test_more_work_never_costs_less(spec, prices, more):
    dearer = replace(spec, steps=spec.steps + more)
    assert quote(dearer, prices, first=True).total >= quote(spec, prices, first=True).total


@given(jobs, sheets, st.integers(0, limits.STEPS_MAX))
def test_steps_that_are_skipped_cost_nothing(spec, prices, skip):
    assert quote(replace(spec, skip=skip), prices, first=True) == quote(spec, prices, first=True)


@given(jobs, sheets)
def test_to_begin_from_a_picture_costs_as_much_as_to_decode_one(spec, prices):
    words = quote(replace(spec, task=Task.TEXT_TO_IMAGE), prices, first=True)
    picture = quote(replace(spec, task=Task.IMAGE_TO_IMAGE), prices, first=True)
    assert picture == quote(replace(spec, task=Task.INPAINT), prices, first=True)
    encode = [line for line in picture.lines if line.line is Line.ENCODE]
    decode = [line for line in picture.lines if line.line is Line.DECODE]
    assert [replace(line, line=Line.DECODE) for line in encode] == decode
    assert picture.increment - words.increment == sum(line.amount for line in encode) // spec.count


@given(st.integers(0, 10**15), st.integers(0, 10**12))
def test_rounding_is_up_and_by_less_than_one(quantity, rate):
    exact = quantity * rate
    assert 0 <= per_million(quantity, rate) * 10**6 - exact < 10**6


def test_a_negative_price_is_a_bug():
    with pytest.raises(ValueError, match="negative"):
        per_million(-1, 5)
    with pytest.raises(ValueError, match="negative"):
        per_million(1, -5)


@pytest.mark.parametrize(
    ("upfronts", "first"), [([], True), ([0], True), ([0, 0], True), ([700], False), ([0, 750], False), ([699], True)]
)
def test_the_cold_load_is_charged_until_somebody_has_paid_it(upfronts, first):
    assert is_first(sheet(cold=700), len(upfronts), max(upfronts, default=0)) is first


def test_a_warm_model_loads_for_nothing():
    offer = ModelOffer(MODEL, "m", "f", "", ModelState.WARM, sheet(step=1, cold=700))
    assert frozen_sheet(offer).per_cold_load == 0
    assert frozen_sheet(ModelOffer(MODEL, "m", "f", "", ModelState.CACHED, offer.sheet)) == offer.sheet
