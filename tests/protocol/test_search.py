"""A search of many offers gives what a look at each of them would, and says why, in numbers."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import (
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
    Speed,
    Task,
)
from gpufair.protocol.pricing import frozen_sheet, quote
from gpufair.protocol.search import order
from gpufair.protocol.search.facts import ANY, REFERENCE, Facts, Good, facts, region
from gpufair.protocol.search.filters import Count, Filter, Search, misses, tally
from gpufair.protocol.search.index import Change, Hit, Index
from gpufair.protocol.search.order import Order
from gpufair.protocol.search.rows import Rows, mask_of, rows_of
from gpufair.protocol.search.strategies import BALANCED, CHEAPEST, FASTEST, STRATEGIES, Strategy, strategy
from gpufair.protocol.timing import UNMEASURED_US

_SPEC = importlib.util.spec_from_file_location("protocol_strategies", Path(__file__).with_name("strategies.py"))
made = sys.modules["protocol_strategies"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(made)

MODELS = tuple(bytes([number]) * 32 for number in (1, 2, 3))
PROFILES = tuple(bytes([number]) * 32 for number in (11, 12))
GPUS = ("nvidia geforce rtx 4090", "nvidia h100 80gb hbm3", "nvidia rtx a4000")
REGIONS = ((), ("eu",), ("eu", "eu-north"), ("us", "us-west", "us-west-2"))
STRATEGIES_ = st.builds(Strategy, st.integers(0, 3), st.integers(0, 3)).filter(lambda one: one.price + one.speed > 0)

goods = st.builds(
    Good, st.sampled_from(MODELS), st.sets(st.sampled_from([Task.TEXT_TO_IMAGE, Task.INPAINT])).map(tuple),
    st.integers(1, 6), st.integers(1, 6),
)  # fmt: skip
rows = st.builds(
    Facts,
    did=st.integers(0, 20).map("did{:02}".format),
    goods=st.lists(goods, max_size=3, unique_by=lambda good: good.model).map(tuple),
    names=st.sets(st.sampled_from(["sd15", "sdxl"])).map(tuple),
    gpus=st.lists(st.sampled_from(GPUS), max_size=2, unique=True).map(tuple),
    memory_bytes=st.integers(0, 4),
    isolation=st.sampled_from([one for one in Isolation if one]),
    classes=st.sampled_from([(BidClass.ON_DEMAND,), (BidClass.ON_DEMAND, BidClass.INTERRUPTIBLE)]),
    profiles=st.sets(st.sampled_from(PROFILES)).map(tuple),
    regions=st.sampled_from(REGIONS),
    ledgers=st.sets(st.sampled_from(["one", "two", "three"])).map(tuple),
)
searches = st.builds(
    Search,
    model=st.sampled_from([ANY, *MODELS]),
    name=st.sampled_from(["", "SD15", "flux"]),
    task=st.sampled_from([None, Task.TEXT_TO_IMAGE, Task.INPAINT]),
    bid_class=st.sampled_from([None, BidClass.INTERRUPTIBLE]),
    gpu=st.sampled_from(["", "RTX", "4090", "rtx nvidia", "h200", "RTX H100"]),
    memory_bytes=st.integers(0, 5),
    isolation=st.sampled_from([None, Isolation.CONTAINER, Isolation.GVISOR]),
    profile=st.sampled_from([b"", *PROFILES]),
    region=st.sampled_from(["", "EU", "eu", "us-west", "us_west", "mars"]),
    ledgers=st.sampled_from([(), ("one",), ("one", "three")]),
    price_max=st.sampled_from([None, 0, 2, 4]),
)
changes = st.lists(st.one_of(rows, st.integers(0, 20).map("did{:02}".format)), max_size=40)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few offers already split blocks, as a hundred thousand do."""
    monkeypatch.setattr(order, "BLOCK_MAX", 3)


def filled(story: list[Facts | str]) -> tuple[Index, dict[str, Facts]]:
    """An index after offers came, changed and went, and what should be in it."""
    index, plain = Index(), dict[str, Facts]()
    for event in story:
        if isinstance(event, Facts):
            index.add(event)
            plain[event.did] = event
        else:
            index.remove(event)
            plain.pop(event, None)
    return index, plain


@given(changes, searches, STRATEGIES_, st.integers(1, 8))
@settings(max_examples=120, deadline=None)
def test_a_search_finds_what_a_look_at_each_offer_finds(
    story: list[Facts | str], wanted: Search, how: Strategy, limit: int
) -> None:
    index, plain = filled(story)
    found = index.find(wanted, how, limit=limit)
    fitting = [one for one in plain.values() if not misses(one, wanted)]
    hits = [Hit(one.did, good.price, good.time_us) for one in fitting if (good := one.good(wanted.model))]
    assert len(index) == found.known == len(plain)
    assert found.matches == len(fitting) == len(hits)
    assert list(found.hits) == sorted(hits, key=lambda hit: how.key(hit.price, hit.time_us, hit.did))[:limit]


@given(changes, searches)
@settings(max_examples=80, deadline=None)
def test_every_filter_is_counted_alone_and_after_those_before(story: list[Facts | str], wanted: Search) -> None:
    index, plain = filled(story)
    expected = []
    for place, one in enumerate(Filter):
        if not wanted.asks(one):
            continue
        left = only(wanted, *list(Filter)[: place + 1])
        passing = [here for here in plain.values() if one not in {miss.filter for miss in misses(here, wanted)}]
        expected.append(Count(one, len(passing), sum(not misses(here, left) for here in plain.values())))
    assert list(index.find(wanted).counts) == expected
    assert tally([misses(here, wanted) for here in plain.values()], wanted) == tuple(expected)


@given(changes, searches)
@settings(max_examples=80, deadline=None)
def test_where_nothing_matches_the_change_that_helps_most_comes_first(story: list[Facts | str], wanted: Search) -> None:
    index, plain = filled(story)
    found = index.find(wanted)
    expected = []
    for gone in filter(wanted.asks, Filter):
        fewer = wanted.without(gone)
        prices = [good.price for here in plain.values() if not misses(here, fewer) and (good := here.good(fewer.model))]
        if prices and not found.matches:
            expected.append(Change(gone, len(prices), min(prices)))
    assert sorted(found.changes, key=lambda one: one.filter) == sorted(expected, key=lambda one: one.filter)
    assert [one.matches for one in found.changes] == sorted((one.matches for one in found.changes), reverse=True)


@given(changes, searches)
@settings(max_examples=40, deadline=None)
def test_everyone_who_is_not_found_has_a_reason(story: list[Facts | str], wanted: Search) -> None:
    index, plain = filled(story)
    unused = dict(index.unused(wanted))
    assert unused == {did: why for did, here in plain.items() if (why := misses(here, wanted))}
    assert index.find(wanted).matches == len(plain) - len(unused)


@given(changes)
def test_what_has_gone_leaves_nothing_behind(story: list[Facts | str]) -> None:
    index, plain = filled(story)
    for did in plain:
        index.remove(did)
    empty = Index()
    for name in ("_facts", "_rows", "_values", "_shelves", "_gpus"):
        assert getattr(index, name) == getattr(empty, name), name


def only(wanted: Search, *kept: Filter) -> Search:
    for one in Filter:
        wanted = wanted if one in kept else wanted.without(one)
    return wanted


# --- what an offer is taken for ---------------------------------------------------------------------------------------


@given(made.instances(Offer))
@settings(max_examples=40, deadline=None)
def test_any_offer_that_the_wire_lets_in_can_be_indexed(offer: Offer) -> None:
    index = Index()
    index.add(facts("did", offer))
    here = [model for model in offer.models if model.state is not ModelState.ABSENT]
    assert index.find(Search()).matches == bool(here)
    for model in here[:1]:
        price = quote(REFERENCE, frozen_sheet(model), first=True).total
        assert index.find(Search(model=model.digest)).hits[0].price == price


def test_time_counts_the_queue_the_loading_and_what_was_measured(an_offer: Any) -> None:
    speed = Speed(step_megapixel_us=10_000, decoded_megapixel_us=0, load_us=5_000_000)
    work = 512 * 512 * 25 * 2 * 10_000 // 1_000_000
    for state, queue_ms, expected in (
        (ModelState.WARM, 0, work),
        (ModelState.WARM, 3_000, work + 3_000_000),
        (ModelState.CACHED, 0, work + 5_000_000),
        (ModelState.WARM, 2**62, UNMEASURED_US - 1),
    ):
        offer = an_offer(state=state, speed=speed, queue_ms=queue_ms)
        assert facts("did", offer).goods[0].time_us == expected
    assert facts("did", an_offer(speed=None)).goods[0].time_us == UNMEASURED_US
    assert facts("did", an_offer(state=ModelState.ABSENT)).goods == ()


def test_a_miss_has_both_numbers(an_offer: Any) -> None:
    here = facts("did", an_offer(region="EU-North-1", memory_bytes=2**31))
    wanted = Search(
        model=bytes(32), region="us", memory_bytes=2**33, isolation=Isolation.GVISOR, price_max=1, gpu="h100"
    )
    assert [str(miss) for miss in misses(here, wanted)] == [
        "model: 000000000000 wanted, here 070707070707",
        "gpu: h100 wanted, here none",
        "memory: 8 GiB wanted, here 2 GiB",
        "isolation: gvisor wanted, here none",
        "region: us wanted, here eu-north-1",
        "price: at most 0.000001 cr wanted, here none",
    ]
    assert misses(here, Search(region="eu north")) == ()
    assert region("EU/North") == "eu-north"


# --- strategies -------------------------------------------------------------------------------------------------------


def test_the_named_strategies() -> None:
    dear_and_fast, cheap_and_slow, middling = ("a", 90, 1), ("b", 10, 90), ("c", 20, 3)
    offers = (dear_and_fast, cheap_and_slow, middling)

    def first(how: Strategy) -> str:
        return min(offers, key=lambda one: how.key(one[1], one[2], one[0]))[0]

    assert [first(one) for one in (CHEAPEST, FASTEST, BALANCED)] == ["b", "a", "c"]
    assert first(strategy("price=3,speed=1")) == "c"
    assert first(strategy("speed=2, price=1")) == "a"


def test_a_tie_ends_the_same_way_every_time() -> None:
    assert sorted([("y", 5, 5), ("x", 5, 5), ("z", 5, 4)], key=lambda one: CHEAPEST.key(one[1], one[2], one[0])) == [
        ("z", 5, 4), ("x", 5, 5), ("y", 5, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_written_as_it_is_read(name: str) -> None:
    assert str(strategy(f" {name.upper()} ")) == name
    assert strategy(str(Strategy(2, 7))) == Strategy(2, 7)
    assert strategy("speed=1") == FASTEST


@pytest.mark.parametrize("text", ["", "best", "price", "price=0", "price=10", "price=-1", "price=1,price=2", "speed=²"])
def test_another_strategy_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(LocalError) as caught:
        strategy(text)
    assert "cheapest, fastest, balanced" in caught.value.hint


# --- the parts --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 300)))
def test_rows_are_a_set_however_many(story: list[int]) -> None:
    found, plain = Rows(), set[int]()
    for row in story * 3:
        if row in plain:
            found.remove(row)
            plain.discard(row)
        else:
            found.add(row)
            plain.add(row)
        assert len(found) == len(plain)
    assert rows_of(found.mask) == sorted(plain)


def test_many_rows_become_a_mask_and_few_a_set_again() -> None:
    found = Rows()
    for row in range(0, 2_000, 10):
        found.add(row)
    assert found.mask == mask_of(range(0, 2_000, 10))
    for row in range(0, 1_990, 10):
        found.remove(row)
    assert (found.mask, len(found)) == (1 << 1_990, 1)


@given(st.lists(st.integers(0, 50), unique=True), st.integers(0, 60), st.sets(st.integers(0, 50)))
def test_an_order_stays_in_order(numbers: list[int], most: int, gone: set[int]) -> None:
    kept = Order()
    for number in numbers:
        kept.add((number // 3, 0, str(number), number))
    for number in gone & set(numbers):
        kept.remove((number // 3, 0, str(number), number))
    left = sorted((number // 3, 0, str(number), number) for number in set(numbers) - gone)
    assert list(kept.among(~0 & mask_of(range(60)))) == left
    assert list(kept.among(mask_of([7, 9]))) == [entry for entry in left if entry[3] in (7, 9)]
    assert rows_of(kept.up_to(most)) == sorted(row for number, _, _, row in left if number <= most)


@pytest.fixture
def an_offer() -> Any:
    """The smallest offer, with one model; arguments go to whichever of the two has such a field."""

    def make(**fields: Any) -> Offer:
        whole = min_offer()
        model = whole.models[0]
        of_model = {name: fields.pop(name) for name in ("state", "speed") if name in fields}
        return replace(whole, models=(replace(model, **of_model),), **fields)

    return make


def min_offer() -> Offer:
    model = ModelOffer(b"\7" * 32, "demo", "family", "mit", ModelState.WARM, PriceSheet(b"\7" * 32, 60, 60, 0, 0, 10))
    return Offer(
        head=Head("did", ("*",), bytes(16), 1, 2), sequence=1, record=bytes(32), gpus=(), cpu_cores=2,
        memory_bytes=2**30, tasks=(Task.TEXT_TO_IMAGE,), schedulers=(Scheduler.DDIM,), precisions=(Precision.EXACT,),
        classes=(BidClass.ON_DEMAND,), models=(model,), worker_images=(), ledgers=(LedgerRef("one", "here:1"),),
        isolation=Isolation.NONE, profiles=(), limits=JobLimits(2**20, 100, 16, 2**30), window_max=100, queue_free=4,
        region="",
    )  # fmt: skip
