"""What is said at the end of a job names `fetch` where there is something to fetch, and nowhere else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from whole_nodes import World

from gpufair.client.endings import next_command
from gpufair.client.failures import StoppedError, UnreachableError
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.client.wallet import purchases
from gpufair.protocol.messages import Closing, Delivery, Down


async def stopped_at(w: World, kind: type[Any]) -> StoppedError:
    """How a job of 16 pictures ends that is stopped at the first event of a kind."""
    stop = asyncio.Event()

    def listen(event: ev.Event) -> None:
        if isinstance(event, kind):
            stop.set()

    plan = await w.buyer.plan(Wish("a fox", count=16, steps=100))
    with pytest.raises(StoppedError) as caught:
        await w.buyer.buy(plan, listen, stop=stop)
    return caught.value


def test_a_stopped_job_without_a_picture_names_nothing_to_fetch(world: Any) -> None:
    async def story(w: World) -> None:
        w.on_send(lambda down: None if isinstance(down, Delivery) else down)
        error = await stopped_at(w, ev.StepDone)
        assert "0 of 16 pictures are here" in error.what
        assert error.hint == "nothing more will be paid"
        assert next_command(purchases.find(w.buyer.store, error.job.hex())) == ""

    world(story)


def test_a_stopped_job_with_pictures_says_where_they_are(world: Any) -> None:
    async def story(w: World) -> None:
        error = await stopped_at(w, ev.PictureOpened)
        assert f"gpufair fetch {error.job.hex()[:12]}" in error.hint
        assert next_command(purchases.find(w.buyer.store, error.job.hex())) == "", "all of it is settled"

    world(story)


def test_a_job_that_goes_on_is_to_be_fetched(world: Any) -> None:
    async def story(w: World) -> None:
        def silent(down: Down) -> Down | None:
            return down if isinstance(down, Closing) else None

        w.on_send(silent)
        w.buyer.config = replace(w.buyer.config, deadline=1)
        with pytest.raises(UnreachableError) as caught:
            await w.buy()
        job = purchases.find(w.buyer.store, caught.value.job.hex())
        assert next_command(job) == f"gpufair fetch {caught.value.job.hex()[:12]}"

    world(story)


def test_a_job_that_is_over_but_not_settled_is_looked_at_again(world: Any) -> None:
    async def story(w: World) -> None:
        bought = await w.buy()
        assert next_command(bought) == ""
        unsettled = replace(bought, lease=replace(bought.lease, state="open", captured=0))
        assert not unsettled.is_settled
        assert next_command(unsettled) == "gpufair balance"

    world(story)
