"""Buying from Python without `await`. Rule: each call is the SDK's own, carried to its end by a loop that lies here.

Between two calls nothing happens: a lease that is open stays so until its provider finds it idle for too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from gpufair.client.audit.auditor import Audited
from gpufair.client.bought import Picture
from gpufair.client.market.choosing import Choices
from gpufair.client.sdk import Client, Lease
from gpufair.client.wallet.bill import Bill
from gpufair.client.wallet.purchase import Purchase

R = TypeVar("R")


class SyncClient:
    """The SDK without `await`: `with SyncClient.open() as client`. Not for use inside a running event loop."""

    def __init__(self, client: Client, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner
        self.did = client.did

    @classmethod
    @contextmanager
    def open(cls, home: str | Path | None = None, *, passphrase: str | None = None) -> Iterator[SyncClient]:
        """See `Client.open`."""
        with asyncio.Runner() as runner, _entered(runner, Client.open(home, passphrase=passphrase)) as client:
            yield cls(client, runner)

    def run(self, prompt: str, **options: Any) -> Picture:
        """See `Client.run`."""
        return self._runner.run(self._client.run(prompt, **options))

    def pictures(self, prompt: str, **options: Any) -> tuple[Picture, ...]:
        """See `Client.pictures`."""
        return self._runner.run(self._client.pictures(prompt, **options))

    def batch(self, prompt: str | Sequence[str], *, budget: int, **options: Any) -> list[Picture]:
        """See `Client.batch`; all pictures, once the last is here."""
        return self._runner.run(_all(self._client.batch(prompt, budget=budget, **options)))

    def resume(self, batch: str = "", **options: Any) -> list[Picture]:
        """See `Client.resume`; all pictures, once the last is here."""
        return self._runner.run(_all(self._client.resume(batch, **options)))

    @contextmanager
    def lease(self, *, budget: int, **options: Any) -> Iterator[SyncLease]:
        """See `Client.lease`."""
        with _entered(self._runner, self._client.lease(budget=budget, **options)) as lease:
            yield SyncLease(lease, self._runner)

    def quote(self, prompt: str = "anything", **options: Any) -> Choices:
        """See `Client.quote`."""
        return self._runner.run(self._client.quote(prompt, **options))

    def fetch(self, job: str) -> tuple[Picture, ...]:
        """See `Client.fetch`."""
        return self._runner.run(self._client.fetch(job))

    def go_on(self, job: str) -> tuple[Picture, ...]:
        """See `Client.go_on`."""
        return self._runner.run(self._client.go_on(job))

    def cancel(self, job: str) -> Purchase:
        """See `Client.cancel`."""
        return self._runner.run(self._client.cancel(job))

    def audit(self, job: str, picture: int = 0, **options: Any) -> Audited:
        """See `Client.audit`."""
        return self._runner.run(self._client.audit(job, picture, **options))

    def bill(self, job: str) -> Bill:
        """See `Client.bill`."""
        return self._client.bill(job)

    def history(self, limit: int = 20) -> list[Purchase]:
        """See `Client.history`."""
        return self._client.history(limit)


class SyncLease:
    """An open lease without `await`; see `Lease`."""

    def __init__(self, lease: Lease, runner: asyncio.Runner) -> None:
        self._lease = lease
        self._runner = runner
        self.id = lease.id
        self.provider = lease.provider

    @property
    def left(self) -> int:
        """See `Lease.left`."""
        return self._lease.left

    def run(self, prompt: str, **options: Any) -> Picture:
        """See `Lease.run`."""
        return self._runner.run(self._lease.run(prompt, **options))

    def pictures(self, prompt: str, **options: Any) -> tuple[Picture, ...]:
        """See `Lease.pictures`."""
        return self._runner.run(self._lease.pictures(prompt, **options))

    def reserve(self, seconds: int) -> datetime:
        """See `Lease.reserve`."""
        return self._runner.run(self._lease.reserve(seconds))


async def _all(pictures: AsyncIterator[Picture]) -> list[Picture]:
    return [picture async for picture in pictures]


@contextmanager
def _entered(runner: asyncio.Runner, block: AbstractAsyncContextManager[R]) -> Iterator[R]:
    """An asynchronous block around a synchronous one."""

    async def enter() -> R:
        return await block.__aenter__()

    async def leave() -> None:
        await block.__aexit__(None, None, None)

    entered = runner.run(enter())
    try:
        yield entered
    finally:
        runner.run(leave())
