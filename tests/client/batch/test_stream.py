"""Batches from Python: pictures in order as they come; who leaves the loop stops it; it is gone on with."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path

import pytest
from market_nodes import STEPS, MarketWorld, in_market
from whole_nodes import START

from gpufair.client.failures import FundsError
from gpufair.client.sdk import Client
from gpufair.protocol.errors import LocalError

RATE = 6_000


def test_pictures_come_in_order_with_files_and_index(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        pictures = [
            picture
            async for picture in Client(w.buyer).batch(
                ["a fox", "a cat"], count=3, sweep={"guidance_milli": [1000, 3000]}, seed=7, budget=10_000,
                folder=tmp_path / "out", **STEPS,
            )
        ]  # fmt: skip
        assert [picture.seed for picture in pictures] == [7, 8, 9] * 4
        index = json.loads((tmp_path / "out" / "index.json").read_text())
        assert [one["options"]["prompt"] for one in index["pictures"]] == ["a fox"] * 6 + ["a cat"] * 6
        assert [one["job"] for one in index["pictures"]] == [picture.job for picture in pictures]
        assert await w.balance() == (START - sum(picture.price for picture in pictures), 0)

    in_market(tmp_path, story, RATE, RATE)


def test_who_leaves_the_loop_stops_the_batch_and_may_go_on_later(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        client = Client(w.buyer)
        async with aclosing(client.batch("a fox", count=30, budget=10_000, **STEPS)) as coming:
            first = await anext(coming)
        assert (await w.balance())[1] == 0, "nothing is held"
        pictures = [picture async for picture in client.resume()]
        assert len({(picture.job, picture.seed) for picture in pictures}) == 30
        assert pictures[0].job == first.job, "what was here is not bought again"
        assert (await w.balance())[0] == START - sum(picture.price for picture in pictures)

    in_market(tmp_path, story, RATE, RATE)


def test_what_can_not_be_meant_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        client = Client(w.buyer)
        for options, words in (
            ({"sweep": {"model": ["demo"]}}, "can't differ"),
            ({"count": 5_000}, "5000"),
            ({"count": 1.5}, "whole number"),
            ({"steps": 5_000}, "steps is 5000"),
        ):
            with pytest.raises(LocalError, match=words):
                await anext(client.batch("a fox", budget=10_000, **options))
        with pytest.raises(FundsError, match="at least"):
            await anext(client.batch("a fox", budget=1, count=4))
        with pytest.raises(LocalError, match="no batch"):
            await anext(client.resume())

    in_market(tmp_path, story, RATE)
