"""Jobs that survive their providers: what one leaves undone, another one finishes, within what was allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import PRICE, START, World, another_provider

from gpufair.client import buyer
from gpufair.client.failures import JobFailedError
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.client.wallet import purchases
from gpufair.protocol import limits
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.edge.streams import ExecuteStream
from gpufair.protocol.messages import Beat, Body, Down, Outcome, Progress, Reason, ReasonCode, Up
from gpufair.protocol.pricing import picture_due
from gpufair.provider.daemon import Node
from gpufair.provider.jobs.store import DeliveryDue


def at_step(w: World, picture: int, step: int, act: Callable[[], Any]) -> None:
    """Once, when the first provider would tell this step, do something instead; it says nothing from then on."""
    done = False

    def change(message: Down) -> Down | None:
        nonlocal done
        if isinstance(message, Progress) and (message.picture, message.step) == (picture, step) and not done:
            done = True
            act()
        return None if done and isinstance(message, Progress) else message

    w.on_send(change)


def reclaim(w: World) -> None:
    """The owner of the first provider takes the GPU back."""
    assert w.provider.seller is not None
    jobs = w.provider.seller.jobs
    [attempt] = jobs.attempts.in_state("running")  # type: ignore[arg-type]
    jobs.perform(jobs.attempts.end(attempt.id, Outcome.RECLAIMED, Reason(ReasonCode.RECLAIMED)))


def earned(provider: Node) -> list[int]:
    """What each delivery whose key is out has brought a provider."""
    assert provider.seller is not None
    with provider.seller.jobs._store.read() as rows:
        return [one.amount for one in rows.all(DeliveryDue, revealed=True)]


def test_what_a_provider_takes_back_is_finished_by_another_one(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=70) as dear:
            at_step(w, 1, 5, lambda: reclaim(w))
            bought = await w.buy(count=3)
            assert bought.is_whole
            assert (bought.state, bought.is_settled, len(bought.parts)) == ("paid", True, 1)
            assert bought.job.state == "stopped"
            [told] = [event for event in w.heard if isinstance(event, ev.GoesOn)]
            assert (told.before, told.provider) == (w.provider.keys.did, dear.keys.did)
            assert (told.picture, told.step) == (1, 0), "of the second picture nothing was bought"
            assert "reclaimed" in told.why
            seen = [event.picture for event in w.heard if isinstance(event, ev.PictureOpened)]
            assert seen == [0, 1, 2], "each once, by its number in the whole"
            assert {event.job for event in w.heard if isinstance(event, ev.PictureOpened)} == {bought.job.id}
            assert earned(w.provider) == [PRICE]
            assert bought.spent == PRICE + sum(earned(dear)) == START - await w.balance()
            assert [one.job.id for one in purchases.history(w.buyer.store, 9)] == [bought.job.id]

    world(story)


def test_a_picture_dearer_than_the_window_is_bought_in_pieces(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "narrow", rate=54, window=4) as narrow:
            bought = await w.buy()
            assert bought.lease.provider == narrow.keys.did
            assert (bought.state, bought.lease.window) == ("paid", 4)
            assert len(bought.checkpoints) >= 2
            paid = [one.amount for one in (*bought.checkpoints, *bought.pictures)]
            assert max(paid) <= 4
            assert sum(paid) == sum(earned(narrow)) == bought.spent == START - await w.balance()

    world(story)


def test_a_picture_goes_on_from_the_state_that_was_bought(world: Any, tmp_path: Path) -> None:
    """Pieces are sold on the way; what the first provider did is paid once, and the other one does the rest."""

    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=70) as dear:

            def hear(event: ev.Event) -> None:
                w.heard.append(event)
                if isinstance(event, ev.CheckpointOpened) and event.step == 10:
                    assert w.provider.seller is not None
                    jobs = w.provider.seller.jobs
                    [attempt] = jobs.attempts.in_state("running")  # type: ignore[arg-type]
                    jobs.runner.stop(attempt.id, Outcome.RECLAIMED, Reason(ReasonCode.RECLAIMED))

            plan = await w.buyer.plan(Wish("a fox", checkpoint_every=5))
            bought = await w.buyer.buy(plan, hear)
            [told] = [event for event in w.heard if isinstance(event, ev.GoesOn)]
            assert told.step >= 10
            assert told.same_profile is None, "neither says so in an offer that was made before its first job"
            assert bought.is_whole
            assert bought.checkpoints[-1].step >= told.step
            due = picture_due(plan.spec, plan.candidate.model.sheet, told.step)
            assert sum(earned(w.provider)) == due, "each step once, and none that was not handed over"
            minimum = 10
            assert sum(earned(dear)) < minimum
            assert bought.spent == due + minimum == START - await w.balance()

    world(story)


def test_all_that_is_left_goes_to_whoever_does_it_well(world: Any, tmp_path: Path) -> None:
    """Of three pictures one is here, one is begun and one is not: two jobs, and both at the provider that is left."""

    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=70) as dear:
            at_step(w, 1, 12, lambda: reclaim(w))
            bought = await w.buyer.buy(await w.buyer.plan(Wish("a fox", count=3, checkpoint_every=5)), w.heard.append)
            assert bought.is_whole
            assert [(part.spec.done > 0, part.job.count) for part in bought.parts] == [(True, 1), (False, 1)]
            assert {part.lease.provider for part in bought.parts} == {dear.keys.did}
            assert [one.index for one in bought.opened] == [0, 1, 2]
            told = [event for event in w.heard if isinstance(event, ev.GoesOn)]
            assert [(event.before, event.picture) for event in told] == [(w.provider.keys.did, n) for n in (1, 2)]
            assert bought.spent == START - await w.balance()

    world(story)


def test_a_provider_that_is_gone_gets_nothing_for_what_it_says_later(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buyer, "LOST_S", 0.3)

    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=70) as dear:
            honest = w.buyer.peers.at

            async def without_the_first(record: Any) -> Any:
                if record.issuer == w.provider.keys.did:
                    raise PeerUnreachable("nobody is there")
                return await honest(record)

            def vanish() -> None:
                w.buyer.peers.at = without_the_first  # type: ignore[method-assign]
                w.provider.seller.jobs.streams.close()  # type: ignore[union-attr]

            at_step(w, 0, 5, vanish)
            bought = await w.buy()
            assert bought.is_whole
            assert bought.job.state == "stopped"
            assert "elsewhere" in bought.job.note
            assert bought.spent == sum(earned(dear))
            w.buyer.peers.at = honest  # type: ignore[method-assign]
            again = await w.buyer.fetch(bought)
            assert again.is_settled, "the first provider is back, and settles"
            assert again.spent == START - await w.balance()
            assert earned(w.provider) == [], "it has drawn the picture, and it is neither taken nor paid"

    world(story)


@pytest.mark.parametrize("beats", [False, True], ids=["silent", "stalled"])
def test_a_provider_that_gets_no_further_is_not_waited_for(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beats: bool
) -> None:
    """The stream stays open in both cases; one says nothing, the other that it is at work."""
    monkeypatch.setattr(buyer, "LOST_S", 0.1)
    monkeypatch.setattr(limits, "LOST_MS", 600)
    monkeypatch.setattr(limits, "STALLED_MIN_MS", 1_000)

    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=70):
            assert w.provider.seller is not None
            streams = w.provider.seller.jobs.streams
            honest, done = streams.send, False

            async def beat(lease: bytes, job: bytes) -> None:
                for _ in range(40):
                    await asyncio.sleep(0.1)
                    honest(lease, Beat(job, 0))

            def send(lease: bytes, message: Down) -> None:
                nonlocal done
                if isinstance(message, Progress) and message.step == 5:
                    done = True
                    if beats:
                        going.append(asyncio.ensure_future(beat(lease, message.job)))
                if not done:
                    honest(lease, message)

            going: list[asyncio.Task[None]] = []
            streams.send = send  # type: ignore[method-assign]
            bought = await w.buy()
            assert bought.is_whole
            [told] = [event for event in w.heard if isinstance(event, ev.GoesOn)]
            assert ("at work" if beats else "says nothing") in told.why or "does not end" in told.why
            assert earned(w.provider) == []
            for task in going:
                task.cancel()

    world(story)


def test_a_long_way_up_is_not_its_silence(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOST_MS", 1_500)
    honest = ExecuteStream.send

    async def slowly(self: ExecuteStream, message: Up) -> None:
        if isinstance(message, Body):
            await asyncio.sleep(2)
        await honest(self, message)

    monkeypatch.setattr(ExecuteStream, "send", slowly)

    async def story(w: World) -> None:
        assert (await w.buy()).is_whole
        assert not any(isinstance(event, ev.ConnectionLost) for event in w.heard)

    world(story)


def test_where_nobody_else_sells_it_the_reason_is_told_with_the_search(world: Any) -> None:
    async def story(w: World) -> None:
        at_step(w, 0, 5, lambda: reclaim(w))
        with pytest.raises(JobFailedError, match="stopped") as caught:
            await w.buy()
        assert "elsewhere" in caught.value.hint
        assert "1 lost" in caught.value.hint

    world(story)


def test_what_its_buyer_cancelled_elsewhere_does_not_go_on(world: Any, tmp_path: Path) -> None:
    """Another terminal has cancelled it: whoever waits for it here is told so, and nothing more is ordered."""

    def cancel(w: World) -> None:
        assert w.provider.seller is not None
        jobs = w.provider.seller.jobs
        [attempt] = jobs.attempts.in_state("running")  # type: ignore[arg-type]
        jobs.perform(jobs.attempts.end(attempt.id, Outcome.CANCELLED, Reason(ReasonCode.CANCELLED)))

    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=70) as dear:
            at_step(w, 0, 5, lambda: cancel(w))
            with pytest.raises(JobFailedError, match="cancelled"):
                await w.buy()
            assert not any(isinstance(event, ev.GoesOn) for event in w.heard)
            assert earned(dear) == []

    world(story)


def test_going_on_costs_no_more_than_was_allowed(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "dear", rate=6000) as dear:
            at_step(w, 0, 5, lambda: reclaim(w))
            with pytest.raises(JobFailedError) as caught:
                await w.buy(max_price=2 * PRICE)
            assert "the highest price is" in caught.value.hint
            assert earned(dear) == []

    world(story)
