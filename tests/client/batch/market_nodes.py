"""Several providers and a ledger in this process. Rule: what is started here is ended with its block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whole_nodes import MODEL, START, node

from gpufair.client.batch import running
from gpufair.client.batch.driver import Driver, ignore
from gpufair.client.batch.events import BatchEvent
from gpufair.client.buyer import Buyer
from gpufair.client.config import Config
from gpufair.client.wallet.store import LeaseRow, PeerRow, open_wallet
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Down, Issue
from gpufair.provider import config as settings
from gpufair.provider.daemon import Node
from gpufair.provider.models.store import ModelStore

STEPS = {"steps": 4, "size": (64, 64)}


@dataclass
class MarketWorld:
    ledger: Node
    providers: list[Node]
    buyer: Buyer
    heard: list[BatchEvent] = field(default_factory=list)
    also: Callable[[BatchEvent], None] = ignore
    """Hears everything that `heard` keeps."""

    def hear(self, event: BatchEvent) -> None:
        self.heard.append(event)
        self.also(event)

    async def begin(
        self, count: int = 12, *, budget: int = 0, folder: Path | None = None, options: Any = None, **more: Any
    ) -> Driver:
        """A batch of so many foxes; `budget` 0: ten times what it costs at least."""
        items = [{"seed": seed} for seed in range(count)]
        prepared = await running.prepare(self.buyer, {"prompt": "a fox", **STEPS, **(options or {})}, items)
        return running.begin(
            self.buyer, prepared, budget=budget or 10 * prepared.least, title="foxes", folder=folder,
            listen=self.hear, **more,
        )  # fmt: skip

    async def resume(self, batch: bytes) -> Driver:
        return await running.resume(self.buyer, batch, listen=self.hear)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]

    def leases(self) -> list[LeaseRow]:
        with self.buyer.store.read() as rows:
            return rows.all(LeaseRow, order="created_ms")

    async def balance(self) -> tuple[int, int]:
        """What we have available at the ledger, and held."""
        peer = await self.buyer.peers.meet(f"127.0.0.1:{self.ledger.port}")
        told = (await self.buyer.ledgers.balance(peer)).doc
        return told.available, told.held

    def on_send(self, number: int, change: Callable[[Down], Down | None]) -> None:
        """What a provider sends passes through `change`; None is not sent."""
        seller = self.providers[number].seller
        assert seller is not None
        streams, honest = seller.jobs.streams, seller.jobs.streams.send

        def send(lease: bytes, message: Down) -> None:
            changed = change(message)
            if changed is not None:
                honest(lease, changed)

        streams.send = send  # type: ignore[method-assign]


def provider_node(folder: Path, ledger: str, price: int) -> Node:
    made = node(
        folder, node=settings.NodeConfig(peers=(ledger,)),
        workers=settings.WorkersConfig(runtime="process", null=True),
        price=settings.PriceConfig(per_step_megapixel=price, per_decoded_megapixel=60, minimum=1),
        ledger=settings.LedgerConfig(accepted=(ledger,)),
    )  # fmt: skip
    ModelStore(made.home.models).add(MODEL, name="demo")
    return made


@asynccontextmanager
async def a_market(
    folder: Path, *prices: int, credits: int = START, wallet: Path | None = None
) -> AsyncIterator[MarketWorld]:
    """A ledger, a provider for each price per step-megapixel, and a buyer who knows them all."""
    async with AsyncExitStack() as stack:
        ledger = node(folder / "ledger", node=settings.NodeConfig(roles=("ledger", "directory")))
        await ledger.start()
        stack.push_async_callback(ledger.stop)
        address = f"{ledger.keys.did}@127.0.0.1:{ledger.port}"
        providers = [provider_node(folder / f"provider{n}", address, price) for n, price in enumerate(prices)]
        for one in providers:
            await one.start()
            stack.push_async_callback(one.stop)
        desk = Desk(KeySigner.from_seed(b"B" * 32), SystemClock(), SystemRandom())
        store = open_wallet(wallet)
        stack.callback(store.close)
        peers = await stack.enter_async_context(Peers(desk.clock))
        with store.begin() as rows:
            for one in providers:
                rows.insert(PeerRow(f"127.0.0.1:{one.port}", one.keys.did, 1))
        bank = await peers.meet(address)
        issue = Issue(ledger.desk.head(ledger.keys.did), desk.did, credits, "cash")
        await bank.ledger.issue(ledger.desk.sign(issue).envelope)
        yield MarketWorld(ledger, providers, Buyer(desk, store, peers, Config(deadline=30)))


def in_market(folder: Path, story: Callable[[MarketWorld], Any], *prices: int, **options: Any) -> None:
    """Run a story in a market of its own."""

    async def body() -> None:
        async with asyncio.timeout(60), a_market(folder, *prices, **options) as made:
            await story(made)

    asyncio.run(body())
