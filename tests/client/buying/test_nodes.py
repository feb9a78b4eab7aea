"""A buyer against whole nodes in this process: honest ones, and a provider that says less, or other, than it should."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gpufair.client.buyer import Buyer
from gpufair.client.config import Config
from gpufair.client.failures import CheatedError, DeclinedError, FundsError, JobFailedError, UnreachableError
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.client.session import talk
from gpufair.client.wallet.store import PeerRow, open_wallet
from gpufair.protocol.addresses import Endpoint
from gpufair.protocol.edge import keys
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Chunk, Closing, Delivery, Down, Issue, KeyReveal, Progress, ReasonCode
from gpufair.provider import config as settings
from gpufair.provider.daemon import Node
from gpufair.provider.home import Home
from gpufair.provider.models.store import ModelStore

PRICE = 11
START = 1_000_000
MODEL = Path(settings.__file__).parent / "models" / "demo"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class World:
    ledger: Node
    provider: Node
    buyer: Buyer
    heard: list[ev.Event]

    async def balance(self) -> int:
        peer = await self.buyer.peers.meet(f"127.0.0.1:{self.ledger.port}")
        held = (await self.buyer.ledgers.balance(peer)).doc
        return held.available + held.held

    async def buy(self, **options: Any) -> Any:
        plan = await self.buyer.plan(Wish("a fox", **options))
        return await self.buyer.buy(plan, self.heard.append)

    def on_send(self, change: Callable[[Down], Down | None]) -> None:
        """What the provider sends passes through `change`; None is not sent."""
        assert self.provider.seller is not None
        streams = self.provider.seller.jobs.streams
        honest = streams.send

        def send(lease: bytes, message: Down) -> None:
            changed = change(message)
            if changed is not None:
                honest(lease, changed)

        streams.send = send  # type: ignore[method-assign]

    def close_leases(self) -> None:
        assert self.provider.seller is not None
        jobs = self.provider.seller.jobs
        jobs.perform(jobs.leases.close_all("enough"))


def node(folder: Path, **sections: Any) -> Node:
    made = keys.create(folder / "keys")
    sections["node"] = replace(sections["node"], listen=f"127.0.0.1:{free_port()}")
    config = replace(settings.Config(), **sections)
    return Node(Home(folder), config, made)


@asynccontextmanager
async def a_world(folder: Path) -> AsyncIterator[World]:
    ledger = node(folder / "ledger", node=settings.NodeConfig(roles=("ledger", "directory")))
    await ledger.start()
    address = f"{ledger.keys.did}@127.0.0.1:{ledger.port}"
    provider = node(
        folder / "provider", node=settings.NodeConfig(peers=(address,)),
        workers=settings.WorkersConfig(runtime="process", null=True),
        price=settings.PriceConfig(per_step_megapixel=60, per_decoded_megapixel=60, minimum=10),
        ledger=settings.LedgerConfig(accepted=(address,)),
    )  # fmt: skip
    ModelStore(provider.home.models).add(MODEL, name="demo")
    await provider.start()
    desk = Desk(KeySigner.from_seed(b"B" * 32), SystemClock(), SystemRandom())
    store = open_wallet(None)
    try:
        async with Peers(desk.clock) as peers:
            buyer = Buyer(desk, store, peers, Config(deadline=30))
            where = f"127.0.0.1:{provider.port}"
            with store.begin() as rows:
                rows.insert(PeerRow(str(Endpoint.parse(where)), provider.keys.did, 1))
            bank = await peers.meet(address)
            issue = Issue(ledger.desk.head(ledger.keys.did), desk.did, START, "cash")
            await bank.ledger.issue(ledger.desk.sign(issue).envelope)
            yield World(ledger, provider, buyer, [])
    finally:
        await provider.stop()
        await ledger.stop()
        store.close()


@pytest.fixture
def world(tmp_path: Path) -> Any:
    """Run a story in a world of its own."""

    def run(story: Callable[[World], Any]) -> None:
        async def body() -> None:
            async with asyncio.timeout(50), a_world(tmp_path) as made:
                await story(made)

        asyncio.run(body())

    return run


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
