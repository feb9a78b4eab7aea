"""A batch's progress: a table on a terminal, lines elsewhere; both say who draws, how fast, and what is spent."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from market_nodes import MarketWorld, in_market
from rich.console import Console

from gpufair.client.batch.lanes import LaneState
from gpufair.client.cli.batch_view import BatchWatch
from gpufair.client.cli.stage import Stage

RATE = 6_000


@pytest.mark.parametrize("terminal", [True, False])
def test_it_shows_how_far_all_is(tmp_path: Path, terminal: bool) -> None:
    async def story(w: MarketWorld) -> None:
        screen = io.StringIO()
        stage = Stage(tmp_path / "home", as_json=False)
        stage.err = Console(file=screen, force_terminal=terminal, width=120, markup=False, highlight=False)
        driver = await w.begin(12, folder=tmp_path / "out")
        watch = BatchWatch(stage, w.buyer)
        w.also = watch
        with watch.watch(driver):
            await driver.run()
        said = screen.getvalue()
        assert "12 of 12: picture" in said
        assert "lease settled" in said
        assert len(list((tmp_path / "out").glob("0*.png"))) == 12, "each is written as it comes"
        driver.board.lanes[0].state = LaneState.OPEN
        table = Console(file=io.StringIO(), width=120)
        table.print(watch._table())
        shown = table.file.getvalue()
        assert "12 of 12 pictures" in shown
        assert "open" in shown

    in_market(tmp_path, story, RATE)
