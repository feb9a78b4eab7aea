"""A buyer who comes back: what was ordered is brought in, what nobody has any more is finished by others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import PRICE, START, World, another_provider

from gpufair.client import resuming
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.protocol.edge.refusals import PeerUnreachable


async def broken_off(w: World, step: int, **options: Any) -> None:
    """A purchase whose buyer vanishes at this step, as by SIGKILL."""
    reached = asyncio.Event()

    def hear(event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == step:
            reached.set()
            raise ConnectionAbortedError  # nothing that comes after this is heard

    with pytest.raises(ConnectionAbortedError):
        await w.buyer.buy(await w.buyer.plan(Wish("a fox", **options)), hear)
    assert reached.is_set()


def test_a_finished_picture_waits_for_its_buyer(world: Any) -> None:
    async def story(w: World) -> None:
        await broken_off(w, 5)
        await broken_off(w, 7)
        first, second = w.buyer.resumable()
        assert {first.state, second.state} == {"running"}
        done = await w.buyer.resume_all(w.heard.append)
        assert [one.job.id for one in done] == [first.job.id, second.job.id]  # type: ignore[union-attr]
        assert all(one.is_whole and not one.parts for one in done)  # type: ignore[union-attr]
        assert await w.balance() == START - 2 * PRICE
        assert w.buyer.resumable() == []
        assert await w.buyer.resume_all() == []

    world(story)


def test_what_its_provider_has_no_more_goes_on_elsewhere(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "LOST_S", 0.2)

    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=70) as dear:
            await broken_off(w, 5)
            honest = w.buyer.peers.at

            async def without_the_first(record: Any) -> Any:
                if record.issuer == w.provider.keys.did:
                    raise PeerUnreachable("nobody is there")
                return await honest(record)

            w.buyer.peers.at = without_the_first  # type: ignore[method-assign]
            [begun] = w.buyer.resumable()
            done = await w.buyer.resume(begun, w.heard.append)
            assert done.is_whole
            assert done.last.lease.provider == dear.keys.did
            assert done.job.state == "stopped"
            w.buyer.peers.at = honest  # type: ignore[method-assign]

    world(story)


def test_a_job_that_was_cancelled_is_not_taken_up(world: Any) -> None:
    async def story(w: World) -> None:
        await broken_off(w, 5, count=3)
        [work] = w.buyer.resumable()
        await w.buyer.cancel(work)
        assert w.buyer.resumable() == []

    world(story)
