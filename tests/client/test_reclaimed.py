"""An owner takes the machine back in the middle of a picture: the other half is made elsewhere, from that very step."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import World, another_provider

sys.path.insert(0, str(Path(__file__).parents[1] / "paced"))

from paced_runtime import PacedRuntime

from gpufair.client.session import events as ev
from gpufair.protocol.messages import Goods, Progress
from gpufair.provider.home import Home
from gpufair.provider.workers.runtime import Runtime

STEPS = 40


async def _paced(_config: Any, home: Home, did: str) -> Runtime:
    return PacedRuntime(did, home.workers, pace_ms=10)


def test_a_reclaimed_picture_is_finished_elsewhere_from_its_checkpoint(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=70) as dear:
            seller = w.provider.seller
            assert seller is not None
            reclaimed: list[Any] = []

            def reclaim(message: Any) -> Any:
                if isinstance(message, Progress) and message.step == 10 and not reclaimed:
                    reclaimed.append(seller.jobs.clearing.reclaim(0))
                return message

            w.on_send(reclaim)
            bought = await w.buy(steps=STEPS)
            [told] = [event for event in w.heard if isinstance(event, ev.GoesOn)]
            assert (told.provider, told.picture) == (dear.keys.did, 0)
            assert 10 <= told.step < STEPS
            assert bought.is_whole
            [picture], [checkpoint] = bought.opened, bought.checkpoints
            assert (checkpoint.claim.goods, checkpoint.claim.last_step) == (Goods.CHECKPOINT, told.step)
            assert (picture.claim.first_step, picture.claim.last_step) == (told.step, STEPS), "no step is paid twice"
            steps = [event.step for event in w.heard if isinstance(event, ev.StepDone)]
            assert sorted({*steps}) == list(range(STEPS + 1))
            assert picture.claim.leaf_count == STEPS - told.step + 1

    monkeypatch.setattr("gpufair.provider.daemon.open_runtime", _paced)
    world(story)
