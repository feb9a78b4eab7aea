"""A batch at whole nodes: every picture once, in order, within the budget, whoever fails on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from market_nodes import MarketWorld, in_market
from whole_nodes import START

from gpufair.client.batch import records, running
from gpufair.client.batch.events import LaneLost, LaneRefused, LaneSettled, PictureHere, WentOn
from gpufair.client.failures import FundsError
from gpufair.protocol.messages import Chunk, Delivery, Down, KeyReveal

CHEAP, DEAR = 6_000, 60_000
PRICE = 198
"""Of one small picture at the cheap one."""


async def all_here(w: MarketWorld, driver: running.Driver) -> int:
    """Every picture is here and paid once; what they cost, as the ledger says too."""
    assert running.unfinished(driver) is None
    assert len(w.told(PictureHere)) == len(driver.batch.items)
    here = records.here(w.buyer.store, driver.batch.id)
    assert sorted(here) == list(range(len(driver.batch.items)))
    assert len({(one.lease, one.job) for one in here.values()}) == len(here)
    cost = sum(event.price for event in w.told(PictureHere))
    captured = sum(lease.captured for lease in w.leases())
    assert cost == captured <= driver.batch.row.budget
    return cost


def test_a_batch_is_drawn_by_all_and_settled(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        driver = await w.begin(24, folder=tmp_path / "out")
        await driver.run()
        cost = await all_here(w, driver)
        assert await w.balance() == (START - cost, 0)
        assert len({event.provider for event in w.told(PictureHere)}) == 2
        assert sum(event.captured for event in w.told(LaneSettled)) == cost
        files = running.save(w.buyer, driver, tmp_path / "out")
        assert [path.name for path in files] == [f"{n:03d}-seed{n - 1}.png" for n in range(1, 25)]
        assert {"index.json", "sheet.png"} <= {path.name for path in (tmp_path / "out").iterdir()}

    in_market(tmp_path, story, CHEAP, CHEAP)


def test_a_tight_budget_keeps_to_the_cheap_one(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        items = [{"seed": seed} for seed in range(10)]
        prepared = await running.prepare(w.buyer, {"prompt": "a fox", "steps": 4}, items)
        with pytest.raises(FundsError, match="at least") as caught:
            running.begin(w.buyer, prepared, budget=prepared.least - 1, title="")
        assert caught.value.wanted == prepared.least
        driver = await w.begin(10, budget=prepared.least)
        await driver.run()
        assert await all_here(w, driver) == prepared.least
        assert {event.provider for event in w.told(PictureHere)} == {w.providers[0].keys.did}

    in_market(tmp_path, story, CHEAP, DEAR)


def test_a_provider_that_goes_away_costs_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpufair.client.batch.atwork.LOST_S", 0.5)

    async def story(w: MarketWorld) -> None:
        driver = await w.begin(16)
        drawing = asyncio.ensure_future(driver.run())
        while not w.told(PictureHere):
            await asyncio.sleep(0.01)
        await w.providers[1].stop()
        await drawing
        assert running.unfinished(driver) is None
        assert len(w.told(PictureHere)) == 16
        assert sum(event.price for event in w.told(PictureHere)) <= driver.batch.row.budget

    in_market(tmp_path, story, CHEAP, CHEAP)


def test_a_key_that_does_not_come_holds_up_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider that keeps one is given up; it can take the money only by showing the key at the ledger."""
    for name, seconds in (("batch.driver.KEYS_S", 1.0), ("batch.driver.KEY_S", 0.5)):
        monkeypatch.setattr(f"gpufair.client.{name}", seconds)

    async def story(w: MarketWorld) -> None:
        def withhold(message: Down) -> Down | None:
            return None if isinstance(message, KeyReveal) else message

        w.on_send(1, withhold)
        driver = await w.begin(12)
        await driver.run()
        assert running.unfinished(driver) is None
        assert w.told(LaneLost)
        assert records.stake_of(w.buyer.store, driver.batch.id) <= driver.batch.row.budget

    in_market(tmp_path, story, CHEAP, CHEAP)


def test_what_a_lost_provider_has_sold_of_a_picture_is_not_bought_again(tmp_path: Path) -> None:
    """It sells states and never a picture, and goes away: others go on from the states."""

    async def story(w: MarketWorld) -> None:
        def states_only(message: Down) -> Down | None:
            return None if isinstance(message, Delivery | Chunk) and not message.step else message

        w.on_send(0, states_only)
        driver = await w.begin(6, options={"checkpoint_every": 1}, hedge=False)
        drawing = asyncio.ensure_future(driver.run())
        while not any(lane.tries and lane.seller.did == w.providers[0].keys.did for lane in driver.board.lanes):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        await w.providers[0].stop()
        await drawing
        assert running.unfinished(driver) is None
        went_on = w.told(WentOn)
        assert went_on
        assert all(event.done == 3 for event in went_on), "of four steps three are sold as states"
        spent = {place: records.spent_on(w.buyer.store, driver.batch.id, place) for place in range(6)}
        assert max(spent.values()) <= min(spent.values()) + 3, "pieces add up to the picture, each rounded up"

    in_market(tmp_path, story, CHEAP, CHEAP)


def test_a_lease_beyond_the_budget_is_not_even_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpufair.client.batch.board.COOL_S", 0.01)

    async def story(w: MarketWorld) -> None:
        driver = await w.begin(4, budget=4 * PRICE)
        records.set_budget(w.buyer.store, driver.batch.id, PRICE)  # less than its board believes
        driver.batch = records.load(w.buyer.store, driver.batch.id)
        await driver.run()
        assert w.told(LaneRefused)
        assert "budget" in w.told(LaneRefused)[0].why
        assert w.leases() == []

    in_market(tmp_path, story, CHEAP)


def test_stopped_and_resumed_it_buys_only_what_is_missing(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        stop = asyncio.Event()
        driver = await w.begin(20)
        drawing = asyncio.ensure_future(driver.run(stop))
        while len(w.told(PictureHere)) < 3:
            await asyncio.sleep(0.01)
        stop.set()
        await drawing
        error = running.unfinished(driver)
        assert error is not None
        assert "gpufair resume" in error.hint
        assert (await w.balance())[1] == 0, "nothing is held"
        again = await w.resume(driver.batch.id)
        await again.run()
        cost = await all_here(w, again)
        assert await w.balance() == (START - cost, 0)

    in_market(tmp_path, story, CHEAP, CHEAP)
