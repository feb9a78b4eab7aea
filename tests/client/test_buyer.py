"""A buyer against whole nodes in this process: honest ones, and a provider that says less, or other, than it should."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random as Dice
from typing import Any

import pytest
from PIL import Image
from whole_nodes import PRICE, START, World

from gpufair.client import buyer
from gpufair.client.failures import CheatedError, DeclinedError, FundsError, JobFailedError, UnreachableError
from gpufair.client.market.wish import Wish
from gpufair.client.pictures.inputs import beginning
from gpufair.client.session import events as ev
from gpufair.client.session import talk
from gpufair.client.wallet.store import BodyRow
from gpufair.protocol import wire
from gpufair.protocol.messages import Body, Chunk, Closing, Delivery, Down, JobBody, KeyReveal, Progress, ReasonCode
from gpufair.provider.jobs import store as provider_store


def test_an_honest_picture_is_paid_once_and_settled(world: Any) -> None:
    async def story(w: World) -> None:
        bought = await w.buy()
        assert (bought.job.state, bought.spent, bought.is_settled) == ("paid", PRICE, True)
        kinds = [type(event) for event in w.heard]
        assert kinds[:2] == [ev.JobPlaced, ev.JobAccepted]
        assert kinds.count(ev.StepDone) == 21
        assert kinds.index(ev.PictureLocked) < kinds.index(ev.PictureOpened)
        assert await w.balance() == START - PRICE
        assert await w.buyer.fetch(bought) == bought

    world(story)


def test_a_stream_that_breaks_at_every_turn_still_brings_the_pictures(world: Any) -> None:
    async def story(w: World) -> None:
        sent = 0

        def breaking(message: Down) -> Down | None:
            nonlocal sent
            sent += 1
            if sent % 13 == 0 and sent < 200:
                w.provider.seller.jobs.streams.close()  # type: ignore[union-attr]
                return None
            return message

        w.on_send(breaking)
        bought = await w.buy(count=3)
        assert (len(bought.opened), bought.spent) == (3, 3 * PRICE)
        assert await w.balance() == START - 3 * PRICE

    world(story)


def test_megabytes_to_begin_from_come_through_streams_that_break(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.frombytes("RGB", (1024, 1024), Dice(1).randbytes(3 * 2**20))
    file = io.BytesIO()
    noise.save(file, "PNG")

    async def story(w: World) -> None:
        jobs = w.provider.seller.jobs  # type: ignore[union-attr]
        taken, body = [], jobs.attempts.body

        def breaking(lease: bytes, piece: Body, pieces: Any) -> Any:
            taken.append(piece.offset)
            if len(taken) in (5, 20):
                jobs.streams.close()
            return body(lease, piece, pieces)

        monkeypatch.setattr(jobs.attempts, "body", breaking)
        begin = beginning(file.getvalue())
        bought = await w.buy(begin=begin, width=1024, height=1024, steps=3)
        assert len(bought.opened) == 1
        assert taken.count(0) == 3, "from its beginning on each stream"
        with w.buyer.store.read() as rows:
            [kept] = rows.all(BodyRow)
        assert len(kept.plain) > 3 * 2**20
        assert kept.sealed == b"", "the lease is settled"
        assert wire.decode(JobBody, kept.plain).inputs == begin.inputs(1024, 1024)
        assert len(bought.job.body) < 1_000
        with jobs._store.read() as rows:
            assert rows.all(provider_store.BodyRow) == []

    world(story)


def test_a_withheld_key_is_found_at_the_ledger(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "KEY_S", 0.3)

    async def story(w: World) -> None:
        w.on_send(lambda message: None if isinstance(message, KeyReveal) else message)
        jobs = w.provider.seller.jobs  # type: ignore[union-attr]
        honest = jobs.fetch

        async def silent(request: Any) -> AsyncIterator[Any]:
            async for part in honest(request):
                if not isinstance(part, KeyReveal):
                    yield part

        jobs.fetch = silent  # type: ignore[method-assign]
        with pytest.raises(JobFailedError, match="not revealed") as caught:
            await w.buy()
        assert "gpufair fetch" in caught.value.hint
        from gpufair.client.wallet import purchases

        stuck = purchases.find(w.buyer.store, caught.value.job.hex())
        assert not stuck.opened
        assert await w.balance() == START, "no key, no money"
        w.close_leases()
        done = await w.buyer.fetch(stuck)
        assert (len(done.opened), done.spent) == (1, PRICE)
        assert await w.balance() == START - PRICE

    world(story)


def test_a_bent_ciphertext_is_never_paid(world: Any) -> None:
    async def story(w: World) -> None:
        def bend(message: Down) -> Down:
            if isinstance(message, Chunk):
                return replace(message, data=bytes(len(message.data)))
            return message

        w.on_send(bend)
        with pytest.raises(CheatedError, match="digest"):
            await w.buy()
        w.close_leases()
        assert await w.buyer.settle_open() == [] or await w.buyer.settle_open() == []
        assert await w.balance() == START

    world(story)


def test_a_trace_that_is_not_the_receipts_is_never_paid(world: Any) -> None:
    async def story(w: World) -> None:
        w.on_send(lambda m: replace(m, leaf=bytes(32)) if isinstance(m, Progress) and m.step == 5 else m)
        with pytest.raises(CheatedError, match="trace"):
            await w.buy()

    world(story)


def test_a_lease_closed_in_the_middle_is_told_with_what_is_here(world: Any) -> None:
    async def story(w: World) -> None:
        opened = 0

        def enough(message: Down) -> Down | None:
            nonlocal opened
            opened += isinstance(message, KeyReveal)
            if opened == 2 and isinstance(message, KeyReveal):
                asyncio.get_running_loop().call_soon(w.close_leases)
            return message

        w.on_send(enough)
        with pytest.raises((JobFailedError, DeclinedError)) as caught:
            await w.buy(count=16, steps=60)
        from gpufair.client.wallet import purchases

        job = purchases.find(w.buyer.store, caught.value.job.hex())
        assert job.is_settled
        assert 2 <= len(job.opened) < 16
        assert await w.balance() == START - job.spent
        assert job.spent == sum(picture.amount for picture in job.opened)

    world(story)


def test_a_provider_that_goes_silent_is_given_up_in_time(world: Any) -> None:
    async def story(w: World) -> None:
        w.on_send(lambda message: None if not isinstance(message, Closing) else message)
        w.buyer.config = replace(w.buyer.config, deadline=1)
        with pytest.raises(UnreachableError, match="after 1 s") as caught:
            await w.buy()
        assert caught.value.job
        assert await w.balance() == START

    world(story)


def test_a_refusing_ledger_leaves_nothing_behind(world: Any) -> None:
    async def story(w: World) -> None:
        plan = await w.buyer.plan(Wish("a fox"))
        other = await w.buyer.peers.meet(f"127.0.0.1:{w.ledger.port}")
        from gpufair.protocol.messages import Pay

        pay = Pay(w.buyer.desk.head(other.did), w.provider.keys.did, START, "all of it")
        await other.ledger.pay(w.buyer.desk.sign(pay).envelope)
        with pytest.raises(FundsError):
            await w.buyer.buy(plan)
        assert await w.balance() == 0
        assert await w.buyer.settle_open() == []

    world(story)


def test_a_provider_that_says_no_is_told_with_its_reasons(world: Any) -> None:
    async def story(w: World) -> None:
        plan = await w.buyer.plan(Wish("a fox"))
        w.provider.seller.gate.paused = True  # type: ignore[union-attr]
        with pytest.raises(DeclinedError) as caught:
            await w.buyer.buy(plan)
        assert ReasonCode.PAUSED in {reason.code for reason in caught.value.reasons}
        assert await w.balance() == START

    world(story)


def test_an_offer_that_was_renewed_meanwhile_is_taken_at_the_same_price(world: Any) -> None:
    async def story(w: World) -> None:
        offers = w.provider.seller.offers  # type: ignore[union-attr]
        honest, asked = offers.biddable, 0

        def renewed(offer: bytes) -> Any:
            nonlocal asked
            asked += 1
            return None if asked == 1 else honest(offer)

        offers.biddable = renewed  # type: ignore[method-assign]
        bought = await w.buy()
        assert (bought.job.state, asked, bought.spent) == ("paid", 2, PRICE)

    world(story)


def test_a_provider_out_of_reach_is_given_up_for_now(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "GIVE_UP_S", 0.5)
    monkeypatch.setattr(buyer, "LOST_S", 0.2)

    async def story(w: World) -> None:
        w.on_send(lambda message: None if isinstance(message, Delivery) else message)
        buying = asyncio.create_task(w.buy())
        while not any(isinstance(event, ev.StepDone) for event in w.heard):
            await asyncio.sleep(0.01)
        await w.provider.server.stop(0)
        with pytest.raises(UnreachableError) as caught:
            await buying
        assert "gpufair fetch" in caught.value.hint
        assert any(isinstance(event, ev.ConnectionLost) for event in w.heard)
        assert await w.balance() == START

    world(story)


def test_the_journal_is_re_executed_from_outside(world: Any) -> None:
    async def story(w: World) -> None:
        from gpufair.client import counters

        await w.buy(count=2)
        (ref,) = counters.used(w.buyer)
        report, auditor = await counters.audit(w.buyer, ref)
        assert report.ok, report.findings
        assert auditor.funds(w.buyer.desk.did).available == START - 2 * PRICE

    world(story)
