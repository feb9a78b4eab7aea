"""Which offers can run a job, why the others can't, and in which order the good ones come."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import envelope, limits, matching, wire
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Adapter,
    AdapterOffer,
    Bid,
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
    Reason,
    ReasonCode,
    Scheduler,
    Spec,
    Task,
    WorkerImage,
)
from gpufair.protocol.pricing import quote, smallest_window

NOW = 1_800_000_000_000
SELLER, BUYER, BANK = (KeySigner.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
MODEL, OTHER, IMAGE = bytes(32), bytes([1]) * 32, bytes([2]) * 32
SHEET = PriceSheet(MODEL, 10**6, 10**5, 700, 5, 100)
JOB = Spec(Task.TEXT_TO_IMAGE, MODEL, Scheduler.DDIM, Precision.EXACT, 64, 64, 20, 2, False)
C = ReasonCode


def offer(state=ModelState.CACHED, sheet=SHEET, issued=NOW, number=1, **changes):
    head = Head(SELLER.did, ("*",), bytes([number]) * 16, issued, issued + 60_000)
    doc = Offer(
        head, number, bytes(32), (), 1, 1, (Task.TEXT_TO_IMAGE,), (Scheduler.DDIM,), (Precision.EXACT,),
        (BidClass.ON_DEMAND,), (ModelOffer(MODEL, "m", "f", "", state, sheet),), (WorkerImage(IMAGE, "w"),),
        (LedgerRef(BANK.did, "l:1"),), Isolation.NONE, (), JobLimits(64 * 64, 50, 4, 1), 10**6, 1, "",
    )  # fmt: skip
    return replace(doc, **changes)


def bid(**changes):
    head = Head(BUYER.did, (SELLER.did,), bytes(16), NOW, NOW + 60_000, bytes(32))
    doc = Bid(head, SHEET, BidClass.ON_DEMAND, 10**6, 10**5, 0, 1000, BANK.did, NOW, NOW, 600_000, IMAGE, bytes(32))
    return replace(doc, **changes)


def codes(reasons):
    return [reason.code for reason in reasons]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"steps": 51}, [C.STEPS_TOO_MANY]),
        ({"steps": 0}, [C.STEPS_TOO_MANY]),
        ({"count": 5}, [C.COUNT_TOO_LARGE]),
        ({"width": 72}, [C.SIZE_TOO_LARGE]),
        ({"width": 60}, [C.SIZE_NOT_SUPPORTED]),
        ({"height": 4104, "width": 8}, [C.SIZE_NOT_SUPPORTED, C.SIZE_TOO_LARGE]),
        ({"model": OTHER}, [C.MODEL_NOT_OFFERED]),
        ({"scheduler": Scheduler.EULER}, [C.SCHEDULER_NOT_OFFERED]),
        ({"precision": Precision.HALF}, [C.PRECISION_NOT_OFFERED]),
        ({"adapters": (Adapter(OTHER, 1000),)}, [C.ADAPTERS_NOT_OFFERED]),
        ({"precision": Precision.SINGLE}, [C.PRECISION_NOT_OFFERED]),
        ({"task": Task.INPAINT}, [C.TASK_NOT_OFFERED]),
        ({"skip": 1}, [C.STEPS_TOO_MANY]),
        ({"steps": 51, "count": 5, "model": OTHER}, [C.STEPS_TOO_MANY, C.COUNT_TOO_LARGE, C.MODEL_NOT_OFFERED]),
    ],
)
def test_every_reason_is_given_with_its_numbers(changes, expected):
    reasons = matching.feasible(offer(), replace(JOB, **changes))
    assert codes(reasons) == expected
    assert all(reason.wanted != reason.limit for reason in reasons if reason.unit)


LORA, FOREIGN = bytes([3]) * 32, bytes([4]) * 32
PAINTER = offer(
    tasks=(Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT),
    schedulers=(Scheduler.DDIM, Scheduler.EULER, Scheduler.OWN),
    precisions=(Precision.EXACT, Precision.SINGLE),
    models=(
        ModelOffer(MODEL, "m", "f", "", ModelState.CACHED, SHEET, (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE),
                   (Scheduler.DDIM, Scheduler.EULER)),
        ModelOffer(OTHER, "o", "f", "", ModelState.CACHED, SHEET, schedulers=(Scheduler.OWN,)),
    ),
    adapters=(AdapterOffer(LORA, "l", "", (MODEL,)), AdapterOffer(FOREIGN, "x", "", (OTHER,))),
)  # fmt: skip
"""One whose models differ in what they do, with an adapter for each."""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task": Task.IMAGE_TO_IMAGE, "skip": 8, "steps": 12}, []),
        ({"task": Task.IMAGE_TO_IMAGE}, []),
        ({"task": Task.IMAGE_TO_IMAGE, "skip": limits.STEPS_MAX - 11, "steps": 12}, [C.STEPS_TOO_MANY]),
        ({"task": Task.IMAGE_TO_IMAGE, "skip": limits.STEPS_MAX - 12, "steps": 12}, []),
        ({"task": Task.INPAINT}, [C.TASK_NOT_OFFERED]),
        ({"model": OTHER, "task": Task.IMAGE_TO_IMAGE}, [C.TASK_NOT_OFFERED, C.SCHEDULER_NOT_OFFERED]),
        ({"model": OTHER, "scheduler": Scheduler.OWN}, []),
        ({"scheduler": Scheduler.OWN}, [C.SCHEDULER_NOT_OFFERED]),
        ({"precision": Precision.SINGLE}, []),
        ({"adapters": (Adapter(LORA, -500),)}, []),
        ({"adapters": (Adapter(FOREIGN, 1000),)}, [C.ADAPTERS_NOT_OFFERED]),
        ({"adapters": (Adapter(LORA, 1000), Adapter(LORA, 1000))}, [C.ADAPTERS_NOT_OFFERED]),
    ],
)
def test_tasks_schedulers_and_adapters_are_the_models(changes, expected):
    reasons = matching.feasible(PAINTER, replace(JOB, **changes))
    assert codes(reasons) == expected
    assert all(reason.detail or reason.unit for reason in reasons)


def test_of_several_adapters_each_that_can_not_be_had_is_named():
    spec = replace(JOB, adapters=(Adapter(LORA, 1000), Adapter(FOREIGN, 1000), Adapter(bytes([9]) * 32, 1000)))
    (reason,) = matching.feasible(PAINTER, spec)
    assert (reason.wanted, reason.limit, reason.unit) == (3, 1, "adapters")
    assert "04040404" in reason.detail
    assert "does not fit the model" in reason.detail
    assert "0909090909090909 is not here" in reason.detail


def test_an_absent_model_is_not_sold():
    assert codes(matching.feasible(offer(ModelState.ABSENT), JOB)) == [C.MODEL_NOT_OFFERED]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"bid_class": BidClass.INTERRUPTIBLE}, [C.CLASS_NOT_SOLD]),
        ({"ledger": BUYER.did}, [C.LEDGER_NOT_ACCEPTED]),
        ({"worker_image": OTHER}, [C.IMAGE_NOT_OFFERED]),
        ({"window": 10**6 + 1}, [C.WINDOW_TOO_LARGE]),
        ({"cap": 2 * 10**6}, [C.CAP_TOO_HIGH]),
        ({"sheet": replace(SHEET, model=OTHER)}, [C.MODEL_NOT_OFFERED]),
        ({"sheet": replace(SHEET, minimum=101)}, []),
        ({"sheet": replace(SHEET, minimum=99)}, [C.PRICE_TOO_LOW]),
        ({"sheet": replace(SHEET, per_step_megapixel=1, per_adapter=0)}, [C.PRICE_TOO_LOW, C.PRICE_TOO_LOW]),
        ({"sheet": replace(SHEET, per_cold_load=0)}, [C.PRICE_TOO_LOW]),
    ],
)
def test_terms_within_the_offer(changes, expected):
    terms = envelope.sign(offer(), SELLER)
    assert codes(matching.acceptable(terms, bid(**changes), cap_max=10**6)) == expected


def test_a_warm_model_is_sold_without_its_cold_load():
    terms = envelope.sign(offer(ModelState.WARM), SELLER)
    assert not matching.acceptable(terms, bid(sheet=replace(SHEET, per_cold_load=0)), cap_max=10**6)


def test_a_job_fits_the_lease_to_the_last_micro_credit():
    price = quote(JOB, SHEET, first=True)
    lease = bid(cap=1000 + price.total, window=price.increment)
    assert matching.affordable(JOB, lease, committed=1000, spare=0, first=True) == ()
    assert matching.affordable(JOB, lease, committed=1001, spare=0, first=True) == (
        Reason(C.PRICE_ABOVE_CAP, 1001 + price.total, 1000 + price.total, "micro-credits"),
    )
    smallest = smallest_window(JOB, SHEET)
    assert smallest < price.increment, "what does not fit the window whole is sold in pieces"
    assert matching.affordable(JOB, replace(lease, window=smallest), committed=0, spare=0, first=False) == ()
    tight = replace(lease, window=smallest - 1)
    assert codes(matching.affordable(JOB, tight, committed=0, spare=0, first=False)) == [C.WINDOW_TOO_SMALL]
    dear = replace(lease, sheet=replace(SHEET, minimum=price.increment * price.count + 50))
    whole = quote(JOB, dear.sheet, first=False)
    dear = replace(dear, cap=whole.total, window=whole.total)
    assert whole.upfront == 50
    assert matching.affordable(JOB, dear, committed=0, spare=50, first=False) == (), "the spare pays the line"
    assert codes(matching.affordable(JOB, dear, committed=0, spare=51, first=False)) == [C.PRICE_ABOVE_CAP]


hostile = st.builds(
    Spec, st.sampled_from(Task), st.just(MODEL), st.sampled_from(Scheduler), st.sampled_from(Precision),
    st.integers(1, 2**20), st.integers(1, 2**20), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.booleans(),
    st.lists(st.builds(Adapter, st.binary(min_size=32, max_size=32), st.integers(-8000, 8000)), max_size=8).map(tuple),
    st.integers(0, 2**31 - 1),
)  # fmt: skip


@given(hostile, st.integers(1, limits.RATE_MAX))
def test_the_most_absurd_job_gets_reasons_that_can_be_sent(spec, rate):
    reasons = (
        *matching.feasible(offer(), spec),
        *matching.affordable(
            spec, bid(sheet=replace(SHEET, per_step_megapixel=rate)), committed=0, spare=0, first=True
        ),
    )
    assert len(reasons) <= limits.REASONS_MAX
    for reason in reasons:
        assert wire.decode(Reason, wire.encode(reason)) == reason


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3), st.booleans()), max_size=8))
def test_candidates_come_cheapest_first_and_nobody_is_forgotten(kinds):
    offers = [
        envelope.sign(
            offer(
                sheet=replace(SHEET, per_step_megapixel=rate * 10**6), issued=NOW + age, number=number + 1,
                schedulers=(Scheduler.DDIM,) if good else (Scheduler.EULER,),
            ),
            SELLER,
        )
        for number, (rate, age, good) in enumerate(kinds)
    ]  # fmt: skip
    good, bad = matching.candidates(offers, JOB)
    assert {c.offer.id for c in good} | {o.id for o, _ in bad} == {o.id for o in offers}
    assert len(good) == sum(fits for *_, fits in kinds)
    ranks = [(c.quote.total, c.offer.doc.head.issued_at_ms) for c in good]
    assert ranks == sorted(ranks)
    assert all(reasons for _, reasons in bad)


def test_an_offer_whose_window_holds_no_picture_is_no_candidate():
    small = envelope.sign(offer(window_max=10), SELLER)
    good, [(_, reasons)] = matching.candidates([small], JOB)
    assert not good
    assert codes(reasons) == [C.WINDOW_TOO_SMALL]
