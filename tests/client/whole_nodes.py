"""Whole nodes in this process, and a buyer at them. Rule: what is started here is ended with its block."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gpufair.provider
from gpufair.client.buyer import Buyer
from gpufair.client.config import Config
from gpufair.client.config import Home as BuyerHome
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wallet.store import PeerRow, open_wallet
from gpufair.protocol.addresses import Endpoint
from gpufair.protocol.edge import keys
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.envelope import read
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Balance, Down, Issue, Query, QueryKind
from gpufair.provider import config as settings
from gpufair.provider.daemon import Node
from gpufair.provider.home import Home
from gpufair.provider.models.store import ModelStore

PRICE = 11
START = 1_000_000
MODEL = Path(gpufair.provider.__path__[0]) / "models" / "demo"


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

    async def funds(self, did: str) -> tuple[int, int]:
        """What anybody has available and held, as the ledger's own node knows."""
        head = self.ledger.desk.head(self.ledger.keys.did)
        query = self.ledger.desk.sign(Query(head, QueryKind.BALANCE, did, b"", 0))
        peer = await self.buyer.peers.meet(f"127.0.0.1:{self.ledger.port}")
        told = read(await peer.ledger.ask(query.envelope), Balance).doc
        return told.available, told.held

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


def a_provider(
    folder: Path,
    ledger: str,
    *,
    rate: int = 60,
    null: bool = True,
    held: int = 0,
    window: int = 100_000,
    floor_milli: int = 1_000,
) -> Node:
    """A provider of the demo model that is paid at this ledger; it is not started. `held`: workers that it reserves."""
    provider = node(
        folder, node=settings.NodeConfig(peers=(ledger,)),
        workers=settings.WorkersConfig(runtime="process", null=null, reserved_workers=held, concurrent_jobs=1 + held),
        price=settings.PriceConfig(
            per_step_megapixel=rate, per_decoded_megapixel=60, minimum=10, per_reserved_second=2 if held else 0,
            floor_milli=floor_milli,
        ),
        ledger=settings.LedgerConfig(accepted=(ledger,)), limits=settings.LimitsConfig(window=window),
    )  # fmt: skip
    ModelStore(provider.home.models).add(MODEL, name="demo")
    return provider


def known_to(store: RowStore, node: Node) -> None:
    """The buyer looks at this node too."""
    with store.begin() as rows:
        rows.insert(PeerRow(str(Endpoint.parse(f"127.0.0.1:{node.port}")), node.keys.did, 1))


def alone_known_to(store: RowStore, node: Node) -> None:
    """The buyer looks at this node and no other."""
    with store.begin() as rows:
        for row in rows.all(PeerRow):
            rows.delete(PeerRow, address=row.address)
    known_to(store, node)


@asynccontextmanager
async def another_directory(w: World, folder: Path) -> AsyncIterator[Node]:
    """One more directory, that starts from the first one and from nobody else."""
    first = f"{w.ledger.keys.did}@127.0.0.1:{w.ledger.port}"
    other = node(folder, node=settings.NodeConfig(roles=("directory",), peers=(first,)))
    await other.start()
    try:
        yield other
    finally:
        await other.stop()


@asynccontextmanager
async def another_provider(w: World, folder: Path, *, rate: int, **terms: int) -> AsyncIterator[Node]:
    """One more provider, that the buyer knows too."""
    provider = a_provider(folder, f"{w.ledger.keys.did}@127.0.0.1:{w.ledger.port}", rate=rate, **terms)
    await provider.start()
    known_to(w.buyer.store, provider)
    try:
        yield provider
    finally:
        await provider.stop()


@asynccontextmanager
async def a_world(folder: Path, *, null: bool = True) -> AsyncIterator[World]:
    ledger = node(folder / "ledger", node=settings.NodeConfig(roles=("ledger", "directory")))
    await ledger.start()
    address = f"{ledger.keys.did}@127.0.0.1:{ledger.port}"
    provider = a_provider(folder / "provider", address, null=null)
    await provider.start()
    desk = Desk(KeySigner.from_seed(b"B" * 32), SystemClock(), SystemRandom())
    store = open_wallet(None)
    try:
        async with Peers(desk.clock) as peers:
            buyer = Buyer(desk, store, peers, Config(deadline=30))
            known_to(store, provider)
            bank = await peers.meet(address)
            issue = Issue(ledger.desk.head(ledger.keys.did), desk.did, START, "cash")
            await bank.ledger.issue(ledger.desk.sign(issue).envelope)
            yield World(ledger, provider, buyer, [])
    finally:
        await provider.stop()
        await ledger.stop()
        store.close()


@dataclass
class Person:
    """Somebody with a home of their own and a terminal."""

    world: World
    folder: Path
    did: str

    @property
    def home(self) -> BuyerHome:
        return BuyerHome(self.folder / "home")

    @classmethod
    async def at(cls, world: World, folder: Path, knows: Node | None = None) -> Person:
        """Somebody with money, who knows one node: the provider, unless told otherwise."""
        person = cls(world, folder, keys.create(folder / "home" / "keys").did)
        store = open_wallet(person.home.wallet)
        known_to(store, knows or world.provider)
        store.close()
        bank = await world.buyer.peers.meet(f"127.0.0.1:{world.ledger.port}")
        desk = world.ledger.desk
        issue = Issue(desk.head(desk.did), person.did, START, "cash for the other one")
        await bank.ledger.issue(desk.sign(issue).envelope)
        return person

    async def runs(self, *words: str, terminal: int | None = None) -> Process:
        """The command `gpufair`, at pipes or at a terminal (its file descriptor)."""
        variables = {**os.environ, "GPUFAIR_HOME": str(self.home.folder), "OMP_NUM_THREADS": "1"}
        end = PIPE if terminal is None else terminal
        return await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "gpufair", *words, env=variables, cwd=self.folder,
            stdin=terminal, stdout=end, stderr=end,
        )  # fmt: skip

    def bought(self) -> Purchase | None:
        store = open_wallet(self.home.wallet)
        found = purchases.history(store, 1)
        store.close()
        return found[0] if found else None

    def pictures(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*.png"))
