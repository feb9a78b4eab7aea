"""What each policy asks: whole numbers within the owner's bounds, the busier the dearer, and no price that flickers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol.frames import RuntimeProfile
from gpufair.protocol.limits import MINUTE, RATE_MAX, SECOND
from gpufair.protocol.messages import PriceSheet
from gpufair.protocol.pricing import LINES
from gpufair.provider.config import CostPlusConfig, PriceConfig, UtilisationConfig
from gpufair.provider.sales.ask import FixedAsk
from gpufair.provider.sales.cost_plus import CostPlusAsk, cost
from gpufair.provider.sales.policies import chosen
from gpufair.provider.sales.speeds import Figure, Measurement, Speeds
from gpufair.provider.sales.utilisation import (
    WHOLE,
    Load,
    UtilisationAsk,
    band,
    published_milli,
    quiet_ms,
    wanted_milli,
)

MODEL = bytes(32)
PRICE = PriceConfig(per_step_megapixel=60, per_decoded_megapixel=40, per_cold_load=30, per_adapter=20, minimum=10)

rules = st.builds(
    lambda idle, more, minutes, width: UtilisationConfig(idle, idle + more, minutes, width),
    st.integers(1, 5_000), st.integers(0, 20_000), st.integers(1, 60), st.integers(10, 1_000),
)  # fmt: skip
looks = st.lists(st.tuples(st.integers(0, 5 * MINUTE), st.integers(0, 9)), max_size=60)
"""How long after the last look, and how many of eight workers are busy (one more than there are: it is capped)."""


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now


def lines(sheet: PriceSheet) -> list[int]:
    return [getattr(sheet, line) for line in LINES]


def loads(steps: list[tuple[int, int]], rule: UtilisationConfig) -> list[Load]:
    load, seen = Load(0, 0), []
    for after, busy in steps:
        load = load.later(load.at_ms + after, busy, 8, rule.minutes * MINUTE)
        seen.append(load)
    return seen


def test_fixed_is_what_is_written() -> None:
    assert FixedAsk(PRICE).sheet(MODEL) == PriceSheet(MODEL, 60, 40, 30, 20, 10, 0)


@given(looks, rules)
def test_a_load_stays_within_its_bounds_and_the_price_within_the_owner_s(
    steps: list[tuple[int, int]], rule: UtilisationConfig
) -> None:
    published = wanted_milli(0, rule)
    for load in loads(steps, rule):
        assert 0 <= load.share <= WHOLE
        published = published_milli(published, load.share, rule)
        assert rule.idle_milli <= published <= rule.busy_milli
        assert abs(published - wanted_milli(load.share, rule)) < band(published, rule)


@given(looks, rules, st.integers(0, 59))
def test_the_busier_the_dearer(steps: list[tuple[int, int]], rule: UtilisationConfig, where: int) -> None:
    busier = [(after, busy + (index == where)) for index, (after, busy) in enumerate(steps)]
    for one, other in zip(loads(steps, rule), loads(busier, rule), strict=True):
        assert one.share <= other.share + 1, "but for one part in a million million, which rounding may take"
        assert wanted_milli(one.share, rule) <= wanted_milli(other.share, rule) + 1


@given(looks, rules)
def test_two_changes_of_a_price_lie_apart(steps: list[tuple[int, int]], rule: UtilisationConfig) -> None:
    """Whatever the load does, each change needs a band's way of a smoothed load, and that takes its time."""
    published, changed = wanted_milli(0, rule), 0
    for load in loads(steps, rule):
        after = published_milli(published, load.share, rule)
        if after != published:
            assert load.at_ms - changed >= quiet_ms(rule)
            published, changed = after, load.at_ms


@given(rules, st.integers(0, 8), st.integers(0, 8))
def test_under_a_steady_load_a_price_settles(rule: UtilisationConfig, before: int, busy: int) -> None:
    """It goes one way, and then stays."""
    lag = rule.minutes * MINUTE
    load, published = Load(WHOLE * before // 8, 0), wanted_milli(WHOLE * before // 8, rule)
    seen = []
    for _ in range(400):
        load = load.later(load.at_ms + lag // 20, busy, 8, lag)
        published = published_milli(published, load.share, rule)
        seen.append(published)
    assert seen in (sorted(seen), sorted(seen, reverse=True))
    assert len({*seen[-100:]}) == 1


@given(rules, st.integers(0, 16), st.integers(0, 16))
def test_buyers_who_flee_a_price_don_t_make_it_flicker(rule: UtilisationConfig, keen: int, flee: int) -> None:
    """Demand that follows the price: as many busy workers as want it, fewer the dearer it is. Changes stay rare."""
    lag = rule.minutes * MINUTE
    load, published, changes = Load(0, 0), wanted_milli(0, rule), 0
    for _ in range(300):
        busy = max(0, keen - flee * (published - rule.idle_milli) // max(1, rule.busy_milli - rule.idle_milli))
        load = load.later(load.at_ms + lag // 30, busy, 8, lag)
        after = published_milli(published, load.share, rule)
        changes, published = changes + (after != published), after
    assert changes * quiet_ms(rule) <= load.at_ms


def test_by_utilisation_from_idle_to_busy_and_back() -> None:
    clock, busy = Clock(), [0]
    ask = UtilisationAsk(PRICE, clock, lambda: (busy[0], 2))
    seen = []
    for at_work in (0, 2, 1, 0):
        busy[0] = at_work
        for _ in range(60 * 60):
            clock.now += SECOND
            sheet = ask.sheet(MODEL)
        seen.append(lines(sheet))
    assert seen[0] == [30, 20, 15, 10, 5, 0], "half of the written sheet: nobody is here"
    assert 2 * 60 * 95 // 100 <= seen[1][0] <= 2 * 60, "twice as much, to the band"
    assert 70 <= seen[2][0] <= 80, "half way between the two"
    assert 30 <= seen[3][0] <= 32
    assert "busy 0 % of the last 10 min" in ask.why(MODEL)


# --- cost-plus -------------------------------------------------------------------------------------------------------

costs = st.builds(CostPlusConfig, st.integers(1, 10**9), st.integers(0, 100_000), st.just(0))


@given(st.integers(0, 10**18), costs)
def test_a_cost_is_rounded_up_once(nanojoules: int, rule: CostPlusConfig) -> None:
    exact = nanojoules * rule.tariff * (1000 + rule.margin_milli)  # over 3.6e15 nanojoules a kWh, and 1000
    got, whole = cost(nanojoules, rule), 3_600_000_000_000_000 * 1000
    assert 1 <= got <= RATE_MAX
    if 1 < got < RATE_MAX:
        assert (got - 1) * whole < exact <= got * whole


@given(st.integers(0, 10**15), st.integers(0, 10**15), costs, st.integers(0, 1000), st.integers(0, 1000))
def test_more_joules_a_dearer_kwh_and_a_larger_margin_never_cost_less(
    joules: int, more: int, rule: CostPlusConfig, tariff: int, margin: int
) -> None:
    dearer = replace(rule, tariff=rule.tariff + tariff, margin_milli=rule.margin_milli + margin)
    assert cost(joules, rule) <= cost(joules + more, dearer)


def measured(milliwatts: int = 0) -> Measurement:
    """A megapixel's step takes 76 ms, its decoding 200 ms."""
    figure = Figure("text_to_image", 1000, 1000, False, 76_000, 200_000, 2_000_000, 1, 1, 1, 1, 4)
    return Measurement("demo", 0, (figure,), milliwatts)


def test_cost_plus_by_hand() -> None:
    """450 W for 76 ms are 34.2 J; at 0.3 credits a kWh that is 2.85 micro-credits, and half as much again 4.275."""
    price = replace(PRICE, policy="cost-plus", cost_plus=CostPlusConfig(300_000, 500, 0))
    ask = CostPlusAsk(price, lambda _: measured(450_000))
    assert lines(ask.sheet(MODEL)) == [5, 12, 30, 20, 10, 0]
    assert ask.why(MODEL) == "34.2 J a step-megapixel (450 W) at 0.3 cr a kWh, and 500 thousandths on it"
    # What no counter sees is added: the whole draw on a processor, the rest of the machine beside a GPU.
    beside = replace(price, cost_plus=CostPlusConfig(300_000, 500, 150))
    assert CostPlusAsk(beside, lambda _: measured(450_000)).sheet(MODEL).per_step_megapixel == 6
    assert CostPlusAsk(beside, lambda _: measured()).sheet(MODEL).per_step_megapixel == 2


def test_what_is_missing_is_said_and_the_written_sheet_holds() -> None:
    unmeasured = CostPlusAsk(PRICE, lambda _: None)
    assert unmeasured.sheet(MODEL) == FixedAsk(PRICE).sheet(MODEL)
    assert "gpufaird bench" in unmeasured.why(MODEL)
    no_watts = CostPlusAsk(PRICE, lambda _: measured())
    assert no_watts.sheet(MODEL) == FixedAsk(PRICE).sheet(MODEL)
    assert "watts" in no_watts.why(MODEL)


def test_the_owner_s_choice_is_made() -> None:
    def make(policy: str) -> Any:
        return chosen(replace(PRICE, policy=policy), Clock(), lambda: (0, 1), lambda _: None)

    kinds = [type(make(policy)) for policy in ("fixed", "utilisation", "cost-plus")]
    assert kinds == [FixedAsk, UtilisationAsk, CostPlusAsk]


def test_the_draw_is_kept_with_the_speeds_and_older_files_have_none(tmp_path: Path) -> None:
    profile, path = RuntimeProfile("3", "t", "d", "c", "s", "cuda", "n", "float32"), tmp_path / "speeds.json"
    Speeds(path).keep(profile, {MODEL: measured(450_000)}, 0)
    assert Speeds(path).measurement(MODEL, ()) == measured(450_000)
    assert Speeds(path).measurement(MODEL, {bytes(32)}) is None, "measured on another profile"
    told = json.loads(path.read_text())
    del told["models"][MODEL.hex()]["milliwatts"]
    path.write_text(json.dumps(told))
    assert Speeds(path).measurement(MODEL, ()) == measured()
    told["models"][MODEL.hex()]["milliwatts"] = -1
    path.write_text(json.dumps(told))
    assert Speeds(path).measurement(MODEL, ()) is None
