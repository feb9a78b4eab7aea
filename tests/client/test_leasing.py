"""Many jobs under one lease, at whole nodes: paid one by one, settled once, and no job's trouble is another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import PRICE, START, Person, World

from gpufair.client.failures import CheatedError, DeclinedError, FundsError, LeaseOverError, UnreachableError
from gpufair.client.sdk import Client, Lease
from gpufair.client.session import events as ev
from gpufair.client.session import talk
from gpufair.client.sync import SyncClient
from gpufair.client.wallet import purchases
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import Chunk, Down, JobBody, KeyReveal, Progress


@asynccontextmanager
async def leased(w: World, **options: Any) -> AsyncIterator[Lease]:
    async with Client(w.buyer).lease(**{"budget": 100 * PRICE, **options}) as lease:
        yield lease


def leases(w: World) -> list[LeaseRow]:
    with w.buyer.store.read() as rows:
        return rows.all(LeaseRow)


def test_many_pictures_are_one_lease_one_hold_one_settlement(world: Any) -> None:
    async def story(w: World) -> None:
        async with leased(w) as lease:
            one = await lease.run("a fox", seed=1)
            more = await asyncio.gather(*(lease.run(f"fox {number}", seed=number) for number in range(20)))
            assert lease.left == (100 - 21) * PRICE
            assert await w.funds(w.buyer.desk.did) == (START - 100 * PRICE, 100 * PRICE)
            again = await Client(w.buyer).fetch(one.job)
            assert again[0].png == one.png, "and the lease goes on"
            two = await lease.pictures("cats", count=2)
        assert len({picture.job for picture in (one, *more, *two)}) == 22
        [row] = leases(w)
        assert (row.state, row.captured, row.released) == ("settled", 23 * PRICE, 77 * PRICE)
        assert await w.balance() == START - 23 * PRICE
        found = purchases.history(w.buyer.store, 30)
        assert sorted(job.spent for job in found) == [PRICE] * 21 + [2 * PRICE], "each its own share"

    world(story)


def test_a_stream_that_breaks_costs_no_job(world: Any) -> None:
    async def story(w: World) -> None:
        sent = 0

        def breaking(message: Down) -> Down | None:
            nonlocal sent
            sent += 1
            if sent % 37 == 0 and sent < 400:
                w.provider.seller.jobs.streams.close()  # type: ignore[union-attr]
                return None
            return message

        w.on_send(breaking)
        async with leased(w) as lease:
            made = await asyncio.gather(*(lease.run(f"fox {number}", listen=w.heard.append) for number in range(6)))
        assert len(made) == 6
        assert any(isinstance(event, ev.ConnectionLost) for event in w.heard)
        assert await w.balance() == START - 6 * PRICE

    world(story)


def test_the_budget_and_the_dearest_picture_bound_what_is_ordered(world: Any) -> None:
    async def story(w: World) -> None:
        async with leased(w) as lease:
            with pytest.raises(FundsError, match="dearest") as caught:
                await lease.run("a fox", size=(512, 512), steps=1)
            assert caught.value.limit == PRICE, "not one step of it fits the window"
        async with leased(w, budget=6 * PRICE) as lease:
            with pytest.raises(FundsError, match="highest price"):
                await lease.run("a fox", max_price=PRICE - 1)
            await lease.pictures("foxes", count=5)
            with pytest.raises(FundsError, match="budget") as caught:
                await lease.pictures("foxes", count=2)
            assert (caught.value.wanted, caught.value.limit) == (2 * PRICE, PRICE)
            for name in ("model", "trust_provider_ledger"):
                with pytest.raises(LocalError, match=name):
                    await lease.run("a fox", **{name: "demo"})
            await lease.run("a fox")
        async with leased(w, dearest=10 * PRICE) as lease:
            assert (await lease.run("a fox", steps=100)).price > PRICE
        for options in ({"budget": 0}, {"dearest": 101 * PRICE}, {"minutes": 0}, {"minutes": 24 * 60 + 1}):
            with pytest.raises(LocalError, match=next(iter(options))):
                async with leased(w, **options):
                    raise AssertionError
        with pytest.raises(FundsError, match="budget"):
            async with leased(w, budget=PRICE - 1):
                raise AssertionError

    world(story)


def test_a_lease_may_not_pass_the_daily_cap(world: Any) -> None:
    async def story(w: World) -> None:
        w.buyer.config = replace(w.buyer.config, daily_cap=20 * PRICE)
        with pytest.raises(FundsError, match="daily cap"):
            async with leased(w, budget=21 * PRICE):
                raise AssertionError
        async with leased(w, budget=10 * PRICE) as lease:
            with pytest.raises(FundsError, match="daily cap"):
                await w.buy(count=11)
            await lease.run("a fox")
        await w.buy(count=11)

    world(story)


def test_a_caller_that_is_cancelled_cancels_its_job_alone(world: Any) -> None:
    async def story(w: World) -> None:
        async with leased(w, dearest=10 * PRICE) as lease:
            drawing = asyncio.Event()

            def listen(event: ev.Event) -> None:
                if isinstance(event, ev.PictureOpened):
                    drawing.set()

            long = asyncio.create_task(lease.pictures("many", count=16, steps=60, listen=listen))
            await drawing.wait()
            long.cancel()
            with pytest.raises(asyncio.CancelledError):
                await long
            assert (await lease.run("a fox")).price == PRICE
        states = {job.job.prompt: job for job in purchases.history(w.buyer.store, 5)}
        assert states["many"].job.state == "cancelled"
        assert 1 <= len(states["many"].opened) < 16
        assert await w.balance() == START - PRICE - states["many"].spent

    world(story)


def test_a_lease_that_the_provider_closes_takes_no_more_jobs(world: Any) -> None:
    async def story(w: World) -> None:
        async with leased(w) as lease:
            await lease.run("a fox")
            w.close_leases()
            with pytest.raises(LeaseOverError, match="enough"):
                await asyncio.gather(*(lease.run("a fox") for _ in range(3)))
        assert (await w.funds(w.buyer.desk.did))[1] == 0

    world(story)


def test_one_job_that_is_declined_leaves_the_others_alone(world: Any) -> None:
    async def story(w: World) -> None:
        async with leased(w, dearest=100 * PRICE) as lease:
            good = asyncio.create_task(lease.pictures("cats", count=4))
            with pytest.raises(DeclinedError, match="pictures"):
                await lease.pictures("too many", count=64)
            assert len(await good) == 4
        assert await w.balance() == START - 4 * PRICE

    world(story)


def test_a_cheat_ends_the_lease_and_takes_nothing(world: Any) -> None:
    async def story(w: World) -> None:
        w.on_send(lambda m: replace(m, leaf=bytes(32)) if isinstance(m, Progress) and m.step == 5 else m)
        async with leased(w) as lease:
            with pytest.raises(CheatedError, match="trace"):
                await lease.run("a fox")
            with pytest.raises(LeaseOverError, match="trace"):
                await lease.run("a fox")
        assert await w.balance() == START

    world(story)


def test_a_withheld_key_is_waited_for_and_found_at_the_ledger(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "KEY_S", 0.3)

    async def story(w: World) -> None:
        bought = asyncio.Event()

        def withhold(message: Down) -> Down | None:
            if isinstance(message, KeyReveal):
                bought.set()
                return None
            return message

        w.on_send(withhold)
        async with leased(w) as lease:
            buying = asyncio.create_task(lease.run("a fox"))
            await bought.wait()
            w.close_leases()
            assert (await buying).price == PRICE
        assert await w.balance() == START - PRICE

    world(story)


def test_a_job_that_takes_too_long_is_given_up_alone(world: Any) -> None:
    async def story(w: World) -> None:
        hidden: list[bytes] = []

        def hide(message: Down) -> Down | None:
            return None if isinstance(message, Chunk) and message.job in hidden else message

        w.on_send(hide)
        async with leased(w) as lease:
            w.buyer.config = replace(w.buyer.config, deadline=1)
            with pytest.raises(UnreachableError, match="after 1 s") as caught:
                await lease.run("hidden", listen=lambda event: hidden.append(event.job))
            assert caught.value.job == hidden[0]
            w.buyer.config = replace(w.buyer.config, deadline=30)

    world(story)


def test_another_process_leaves_an_open_lease_alone(world: Any) -> None:
    async def story(w: World) -> None:
        async with leased(w) as lease:
            await lease.run("a fox")
            assert [row.id.hex() for row in await w.buyer.settle_open(young_ms=0)] == [lease.id]
            await lease.run("a fox")
        assert await w.balance() == START - 2 * PRICE

    world(story)


def test_what_a_listener_raises_reaches_its_caller(world: Any) -> None:
    async def story(w: World) -> None:
        def listen(event: ev.Event) -> None:
            if isinstance(event, ev.StepDone):
                raise ValueError("the listener's own bug")  # noqa: TRY004

        async with leased(w) as lease:
            with pytest.raises(ValueError, match="own bug"):
                await lease.run("a fox", listen=listen)

    world(story)


def test_bodies_are_sealed_job_by_job(world: Any) -> None:
    async def story(w: World) -> None:
        async with leased(w, negative="blue", steps=10, dearest=PRICE) as lease:
            await lease.run("a fox", steps=20)
            await lease.run("a cat")
        found = purchases.history(w.buyer.store, 5)
        bodies: list[JobBody] = [job.body for job in found]
        assert [(body.prompt, body.negative_prompt) for body in bodies] == [("a cat", "blue"), ("a fox", "blue")]
        assert [job.spec.steps for job in found] == [10, 20]
        assert len({body.salt for body in bodies}) == 2

    world(story)


def test_without_await_it_is_the_same(world: Any, tmp_path: Path) -> None:
    """In a thread of its own, as the loop that serves the nodes is here."""

    async def story(w: World) -> None:
        person = await Person.at(w, tmp_path / "person")

        def buy() -> list[int]:
            with SyncClient.open(person.home.folder) as client:
                with client.lease(budget=10 * PRICE) as lease:
                    prices = [lease.run(f"fox {number}").price for number in range(3)]
                    assert lease.left == 7 * PRICE
                with pytest.raises(FundsError, match="budget"), client.lease(budget=1):
                    raise AssertionError
                return [*prices, client.run("a cat").price]

        assert await asyncio.to_thread(buy) == [PRICE] * 4
        assert await w.funds(person.did) == (START - 4 * PRICE, 0)

    world(story)
