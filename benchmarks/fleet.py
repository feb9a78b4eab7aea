"""Four providers and one buyer. ONE RULE: every job is a whole one: signed, sealed, metered, delivered, paid, on disk.

The providers' workers are null workers. The buyer is one process with several leases of each provider, because one job
of a lease is at work at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, nodes
from gpufair.client.config import Home
from gpufair.client.leasing import OpenLease
from gpufair.client.opening import open_buyer
from gpufair.client.sdk import Lease
from gpufair.client.wishing import wish
from gpufair.protocol import limits
from gpufair.protocol.edge import keys

PROVIDERS, LEASES, FLIGHT = 4, 4, 64
BUDGET = 100_000_000


@dataclass(frozen=True)
class Fleet:
    """Running nodes, and a folder for a buyer."""

    folder: Path
    ledger: nodes.Node
    providers: tuple[nodes.Node, ...]

    def cpu(self) -> dict[str, float]:
        """Processor seconds so far, by who spent them; the buyer is this process."""
        return {
            "buyer": machine.cpu_seconds(),
            "providers": sum(provider.cpu() for provider in self.providers),
            "workers": sum(provider.worker_cpu() for provider in self.providers),
            "ledger": self.ledger.cpu(),
        }

    @contextlib.asynccontextmanager
    async def leases(self) -> AsyncIterator[list[Lease]]:
        """A new buyer's leases, of every provider in turn: one, then the next."""
        wanted: dict[str, Any] = {"steps": 1, "size": (64, 64)}
        home = Home(self.folder / "buyer")
        made = keys.create(home.keys)
        nodes.gpufaird("ledger", "issue", made.did, "2000", "--reference", "bench", "--home", str(self.ledger.home))
        async with open_buyer(home) as buyer:
            opened: list[OpenLease] = []
            try:
                nodes.know(buyer.store, *self.providers)
                for provider in self.providers * LEASES:
                    plan = await buyer.planner.plan(wish("anything", **wanted), budget=BUDGET, only=provider.did)
                    lease, plan = await buyer.lease(plan, lasts_ms=limits.HOUR // 2)
                    opened.append(OpenLease(buyer, lease, plan))
                    opened[-1].open()
                yield [Lease(one, wanted, buyer.store) for one in opened]
            finally:
                await asyncio.gather(*(one.close() for one in opened))


@contextlib.contextmanager
def running(folder: Path, *, sampled: bool = False) -> Iterator[Fleet]:
    """The nodes, warm, for as long as the block lasts; `sampled`: each under a sampler (`Node.sampled_since`)."""
    with contextlib.ExitStack() as stack:
        roles = ("--role", "ledger", "--role", "directory")
        ledger = stack.enter_context(nodes.started(folder / "ledger", *roles, sampled=sampled))
        change = {"runtime": '"process"', "null": "true", "cpus": "1.0", "queue": str(limits.QUEUE_MAX)}
        providers = [
            stack.enter_context(
                nodes.started(folder / f"provider-{n}", "--ledger", ledger.address, change=change, sampled=sampled)
            )
            for n in range(PROVIDERS)
        ]
        for provider in providers:
            nodes.wait_warm(provider)
        yield Fleet(folder, ledger, tuple(providers))


async def buy(leases: list[Lease], jobs: int) -> float:
    """Seconds until every job has brought its picture, `FLIGHT` of them under way."""
    room = asyncio.Semaphore(FLIGHT)

    async def one(number: int) -> None:
        async with room:
            picture = await leases[number % len(leases)].run("red apple", seed=number)
            assert picture.png

    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(jobs)))
    return time.perf_counter() - start
