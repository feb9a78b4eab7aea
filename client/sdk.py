"""Buying from Python. Rule: everything the command line can do is one awaited call, and every failure is typed.

    from gpufair.client import Client

    async with Client.open() as client:
        picture = await client.run("a fox on a green background")
        picture.save("fox.png")

`SyncClient` has the same methods without `await`. Prices are whole micro-credits (a credit has 1,000,000).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gpufair.client.buyer import Buyer, ignore
from gpufair.client.config import Home, default_home
from gpufair.client.failures import DeclinedError
from gpufair.client.market.choosing import Choices
from gpufair.client.market.plan import Plan
from gpufair.client.market.wish import Wish
from gpufair.client.opening import open_buyer
from gpufair.client.pictures.verify import sealed_with
from gpufair.client.session.talk import Listen
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchases import Purchase
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import Receipt, Scheduler

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that was bought. `png` carries the signed receipt; `price` is what this one cost."""

    png: bytes
    job: str
    index: int
    seed: int
    price: int
    provider: str
    receipt: Receipt

    def save(self, path: str | Path) -> Path:
        """Write the PNG, receipt included."""
        target = Path(path)
        target.write_bytes(self.png)
        return target


def pictures_of(purchase: Purchase) -> tuple[Picture, ...]:
    """Every picture of a purchase that is here, its receipt inside."""
    seed = purchase.body.seed
    return tuple(
        Picture(
            png=sealed_with(one.png, one.receipt),
            job=purchase.job.id.hex(),
            index=one.index,
            seed=(seed + one.index) % 2**64,
            price=one.amount,
            provider=from_bytes(one.receipt, Receipt).issuer,
            receipt=one.claim,
        )
        for one in purchase.opened
    )


class Client:
    """A buyer: `async with Client.open() as client`."""

    def __init__(self, buyer: Buyer) -> None:
        self.buyer = buyer

    @classmethod
    @asynccontextmanager
    async def open(cls, home: str | Path | None = None, *, passphrase: str | None = None) -> AsyncIterator[Client]:
        """Open the buyer in `home` (default: the user's own). Raises LocalError where `gpufair init` comes first."""
        async with open_buyer(Home(Path(home) if home is not None else default_home()), passphrase) as buyer:
            yield cls(buyer)

    @property
    def did(self) -> str:
        """Who we are: what a ledger's operator issues credits to."""
        return self.buyer.desk.did

    async def run(self, prompt: str, **options: Any) -> Picture:
        """Buy one picture. Options: see `pictures`. Raises a `PurchaseError` for every other ending."""
        return (await self.pictures(prompt, **options))[0]

    async def pictures(
        self,
        prompt: str,
        *,
        approve: Callable[[Plan], bool] | None = None,
        listen: Listen = ignore,
        **options: Any,
    ) -> tuple[Picture, ...]:
        """Buy `count` pictures in one job.

        Options are those of `wish`. `approve` sees the plan, with its price, before anything is signed; if it
        says no, DeclinedError is raised. `listen` gets every event (`gpufair.client.session.events`).
        """
        plan = await self.buyer.plan(wish(prompt, **options))
        if approve is not None and not approve(plan):
            raise DeclinedError("the plan was not approved", hint="nothing was spent")
        return pictures_of(await self.buyer.buy(plan, listen))

    async def quote(self, prompt: str = "anything", **options: Any) -> Choices:
        """Who could do it, cheapest first, each with its quote line by line. Nothing is signed."""
        return self.buyer.choose(await self.buyer.market(), wish(prompt, **options))

    async def fetch(self, job: str, listen: Listen = ignore) -> tuple[Picture, ...]:
        """What a job has brought, taking up a job that was broken off; `job` is its id or the beginning of it."""
        return pictures_of(await self.buyer.fetch(purchases.find(self.buyer.store, job), listen))

    async def cancel(self, job: str) -> Purchase:
        """Stop a job; pictures already delivered stay payable."""
        return await self.buyer.cancel(purchases.find(self.buyer.store, job))

    def history(self, limit: int = 20) -> list[Purchase]:
        """The newest jobs, newest first, out of the wallet."""
        return purchases.history(self.buyer.store, limit)


def wish(
    prompt: str,
    *,
    negative: str = "",
    model: str = "",
    size: tuple[int, int] | None = None,
    steps: int | None = None,
    guidance_milli: int | None = None,
    seed: int | None = None,
    scheduler: str = "ddim",
    count: int = 1,
    preview_every: int = 0,
    max_price: int | None = None,
    trust_provider_ledger: bool = False,
) -> Wish:
    """A wish in plain values: `size` in pixels, guidance in thousandths, `max_price` in micro-credits."""
    if scheduler.upper() not in Scheduler.__members__ or scheduler.lower() == "unspecified":
        known = ", ".join(one.name.lower() for one in Scheduler if one)
        raise LocalError(Fault.MALFORMED, f"there is no scheduler {scheduler!r}", hint=f"there are {known}")
    width, height = size if size is not None else (None, None)
    made = Wish(
        prompt, negative, model, width, height, steps, guidance_milli, seed, Scheduler[scheduler.upper()], count,
        preview_every, max_price, trust_provider_ledger,
    )  # fmt: skip
    made.check()
    return made


class SyncClient:
    """The same without `await`: `with SyncClient.open() as client`. Not for use inside a running event loop."""

    def __init__(self, client: Client, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner
        self.did = client.did

    @classmethod
    @contextmanager
    def open(cls, home: str | Path | None = None, *, passphrase: str | None = None) -> Iterator[SyncClient]:
        """See `Client.open`."""
        opening = Client.open(home, passphrase=passphrase)
        with asyncio.Runner() as runner:
            client = runner.run(_enter(opening))
            try:
                yield cls(client, runner)
            finally:
                runner.run(_leave(opening))

    def run(self, prompt: str, **options: Any) -> Picture:
        """See `Client.run`."""
        return self._do(self._client.run(prompt, **options))

    def pictures(self, prompt: str, **options: Any) -> tuple[Picture, ...]:
        """See `Client.pictures`."""
        return self._do(self._client.pictures(prompt, **options))

    def quote(self, prompt: str = "anything", **options: Any) -> Choices:
        """See `Client.quote`."""
        return self._do(self._client.quote(prompt, **options))

    def fetch(self, job: str) -> tuple[Picture, ...]:
        """See `Client.fetch`."""
        return self._do(self._client.fetch(job))

    def cancel(self, job: str) -> Purchase:
        """See `Client.cancel`."""
        return self._do(self._client.cancel(job))

    def history(self, limit: int = 20) -> list[Purchase]:
        """See `Client.history`."""
        return self._client.history(limit)

    def _do(self, work: Coroutine[Any, Any, R]) -> R:
        return self._runner.run(work)


async def _enter(opening: Any) -> Client:
    client: Client = await opening.__aenter__()
    return client


async def _leave(opening: Any) -> None:
    await opening.__aexit__(None, None, None)
