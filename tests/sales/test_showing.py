"""What the owner is shown is what a bid has to pay: the same numbers, refused when they are one lower."""

from __future__ import annotations

from dataclasses import replace

from gpufair.protocol.messages import BidClass, PriceSheet, ReasonCode
from gpufair.provider.config import WorkersConfig
from gpufair.provider.sales.showing import prices

from .conftest import MODELS, PRICE, World


def test_each_kind_of_bid_pays_at_least_what_is_shown(world: World) -> None:
    world.restart(
        price=replace(PRICE, floor_milli=400, notice_seconds=30, notice_discount_milli=250, per_reserved_second=7),
        workers=WorkersConfig(concurrent_jobs=8, reserved_workers=1),
    )
    world.warm_models = frozenset({MODELS[0].digest})
    shown = prices(world.offers.current().doc, lambda _model: "so the owner wants")
    assert [(one["name"], one["state"], one["why"]) for one in shown] == [
        ("fox", "warm", "so the owner wants"), ("owl", "cached", "so the owner wants"),
    ]  # fmt: skip
    kinds = [(ask["class"], ask["notice_ms"]) for ask in shown[0]["asks"]]
    assert kinds == [
        (name, notice) for name in ("on_demand", "interruptible", "reserved") for notice in (30_000, 0)
    ]  # fmt: skip
    assert [ask["sheet"]["per_step_megapixel"] for ask in shown[0]["asks"]] == [60, 45, 24, 18, 60, 45]
    for number, ask in enumerate(shown[0]["asks"]):
        kind = {"bid_class": BidClass[ask["class"].upper()], "notice_ms": ask["notice_ms"]}
        sheet = PriceSheet(MODELS[0].digest, **ask["sheet"])
        low = replace(sheet, per_step_megapixel=sheet.per_step_megapixel - 1)
        assert set(world.reasons(world.bid(client=f"low {number}", sheet=low, **kind))) == {ReasonCode.PRICE_TOO_LOW}
        assert world.place(world.bid(client=f"right {number}", sheet=sheet, **kind))
        assert ask["lines"][0].startswith(f"denoise: 13,107,200 step-pixels x {sheet.per_step_megapixel} ")


def test_behind_a_closed_gate_nothing_is_asked(world: World) -> None:
    world.gate.paused = True
    assert prices(world.offers.current().doc, str) == []
