"""A better bid comes in the middle of an interruptible picture: it gets the worker; the picture goes on elsewhere."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import World, another_provider

sys.path.insert(0, str(Path(__file__).parents[1] / "paced"))

from paced_runtime import PacedRuntime

from gpufair.client.market.stake import Stake
from gpufair.client.sdk import Client
from gpufair.client.session import events as ev
from gpufair.protocol.messages import BidClass, Progress
from gpufair.provider.home import Home
from gpufair.provider.workers.runtime import Runtime

STEPS = 100


async def _paced(_config: Any, home: Home, did: str) -> Runtime:
    return PacedRuntime(did, home.workers, pace_ms=20)


def test_a_displaced_picture_goes_on_and_each_pays_for_its_own_steps(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        async with (
            another_provider(w, tmp_path / "cheap", rate=50, floor_milli=500) as cheap,
            another_provider(w, tmp_path / "dear", rate=70, floor_milli=500) as dear,
            Client(w.buyer).lease(budget=500) as lease,
        ):
            assert lease.provider == cheap.keys.did
            w.provider = cheap
            better: list[asyncio.Task[Any]] = []

            def come(message: Any) -> Any:
                if isinstance(message, Progress) and message.steps == STEPS and message.step == 10 and not better:
                    better.append(asyncio.create_task(lease.run("an owl", steps=4)))
                return message

            w.on_send(come)
            bought = await w.buy(steps=STEPS, stake=Stake(bid_class=BidClass.INTERRUPTIBLE), max_price=200)
            [told] = [event for event in w.heard if isinstance(event, ev.GoesOn)]
            assert told.provider == dear.keys.did
            assert 10 <= told.step < STEPS
            assert (await better[0]).png
            [checkpoint], [picture] = bought.checkpoints, bought.opened
            assert (checkpoint.claim.last_step, picture.claim.first_step) == (told.step, told.step)
            assert "preempted: 25 micro-credits per step-megapixel asked, 50 possible" in told.why
            paid = checkpoint.claim.increment + picture.claim.increment
            assert bought.spent == paid, "at 25 to the step where it stopped, and at 35 from there"

    monkeypatch.setattr("gpufair.provider.daemon.open_runtime", _paced)
    world(story)
