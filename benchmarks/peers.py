"""Null jobs a second over four providers. ONE RULE: the same null task, as many workers, as many under way, in turns.

Ours: four provider nodes with null workers and a ledger node, one buyer's process with several leases of each (one job
of a lease is at work at a time), every job signed, sealed, metered, delivered against a lock, paid and on disk on both
sides before it is answered. The peers: Celery over Redis with four worker processes, as it comes and with a Redis that
writes to disk before it answers; and Ray with four. They sign, encrypt, meter and bill nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import machine, nodes
from benchmarks.peer import house
from benchmarks.rows import Row, Samples
from benchmarks.running import NotHereError, Options, say
from gpufair.client.config import Home
from gpufair.client.leasing import OpenLease
from gpufair.client.opening import open_buyer
from gpufair.client.sdk import Lease
from gpufair.client.wishing import wish
from gpufair.protocol import limits
from gpufair.protocol.addresses import PeerAddress
from gpufair.protocol.edge import keys
from gpufair.provider.inference.null import PICTURE

PROVIDERS, LEASES, FLIGHT = 4, 4, 64
BUDGET = 100_000_000
HERE = Path(__file__).parent / "peer"


@dataclass
class Turn:
    """What one turn of one system gave."""

    jobs: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    jobs, turns = options.rounds(1000, 200), options.rounds(3, 1)
    peers, missing = _peers(options.folder)
    found: dict[str, list[Turn]] = {"gpufair": [], **{name: [] for name in peers}}
    with machine.watched() as state:
        floor = machine.sync_ms(options.folder)
        for turn in range(turns):
            folder = options.folder / f"turn-{turn}"
            folder.mkdir()
            found["gpufair"].append(_ours(folder, jobs))
            for name, peer in peers.items():
                found[name].append(peer(folder / name, jobs))
            say("peers: " + ", ".join(f"{name} {had[-1].rate:.0f}/s" for name, had in found.items()))
    yield from _rows(found, {"disk_sync_ms": floor.summary(), "machine": state, "missing": missing})


# --- ours --------------------------------------------------------------------------------------------------------


def _ours(folder: Path, jobs: int) -> Turn:
    with contextlib.ExitStack() as stack:
        roles = ("--role", "ledger", "--role", "directory")
        ledger = stack.enter_context(nodes.started(folder / "ledger", *roles))
        change = {"runtime": '"process"', "null": "true", "cpus": "1.0", "queue": str(limits.QUEUE_MAX)}
        providers = [
            stack.enter_context(nodes.started(folder / f"provider-{n}", "--ledger", ledger.address, change=change))
            for n in range(PROVIDERS)
        ]
        for provider in providers:
            nodes.wait_warm(provider)
        return asyncio.run(_buy(folder, ledger, providers, jobs))


async def _buy(folder: Path, ledger: nodes.Node, providers: list[nodes.Node], jobs: int) -> Turn:
    home = Home(folder / "buyer")
    made = keys.create(home.keys)
    nodes.gpufaird("ledger", "issue", made.did, "2000", "--reference", "benchmark", "--home", str(ledger.home))
    async with _leases(home, providers) as leases:
        await _all(leases, jobs // 5)
        before = _cpu(ledger, providers)
        seconds = await _all(leases, jobs)
        after = _cpu(ledger, providers)
    spent = {f"{name}_cpu_ms_per_job": round(1000 * (after[name] - before[name]) / jobs, 2) for name in after}
    return Turn(jobs, seconds, spent)


@contextlib.asynccontextmanager
async def _leases(home: Home, providers: list[nodes.Node]) -> AsyncIterator[list[Lease]]:
    """Leases of every provider in turn: one, then the next."""
    wanted = {"steps": 1, "size": (64, 64)}
    async with open_buyer(home) as buyer:
        opened: list[OpenLease] = []
        try:
            for provider in providers * LEASES:
                buyer.config = replace(buyer.config, peers=(PeerAddress.parse(provider.address),))
                plan = await buyer.plan(wish("anything", **wanted), budget=BUDGET)
                lease, plan = await buyer.lease(plan, lasts_ms=limits.HOUR // 2)
                opened.append(OpenLease(buyer, lease, plan))
                opened[-1].open()
            yield [Lease(one, wanted, buyer.store) for one in opened]
        finally:
            await asyncio.gather(*(one.close() for one in opened))


async def _all(leases: list[Lease], jobs: int) -> float:
    """Seconds until every job has brought its picture, `FLIGHT` of them under way."""
    room = asyncio.Semaphore(FLIGHT)

    async def one(number: int) -> None:
        async with room:
            picture = await leases[number % len(leases)].run("red apple", seed=number)
            assert picture.png

    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(jobs)))
    return time.perf_counter() - start


def _cpu(ledger: nodes.Node, providers: list[nodes.Node]) -> dict[str, float]:
    return {
        "buyer": machine.cpu_seconds(os.getpid()),
        "providers": sum(provider.cpu() for provider in providers),
        "workers": sum(provider.worker_cpu() for provider in providers),
        "ledger": ledger.cpu(),
    }


# --- the peers ---------------------------------------------------------------------------------------------------


def _peers(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The peers that can be had here, and why others can't."""
    try:
        python = house.venv(folder / "venv")
    except NotHereError as why:
        say(f"peers: gpufair alone: {why}")
        return {}, [str(why)]
    found: dict[str, Any] = {"ray": lambda place, jobs: _ray(python, place, jobs)}
    try:
        program, env = house.redis(folder / "redis")
    except NotHereError as why:
        say(f"peers: without Celery: {why}")
        return found, [str(why)]
    for name, lasting in (("celery", False), ("celery_on_disk", True)):
        found[name] = lambda place, jobs, lasting=lasting: _celery(python, program, env, place, jobs, lasting=lasting)
    return found, []


def _celery(python: Path, program: str, env: dict[str, str], folder: Path, jobs: int, *, lasting: bool) -> Turn:
    with house.redis_running(program, env, folder, lasting=lasting) as url:
        variables = _variables(PEER_REDIS=url)
        words = ["-m", "celery", "-A", "celery_null", "worker", "--concurrency", str(PROVIDERS), "-l", "error"]
        with (folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen([python, *words], cwd=HERE, env=variables, stdout=log, stderr=log)
        with house.ended(worker):
            return _measured([str(python), "celery_null.py"], variables, folder, jobs)


def _ray(python: Path, folder: Path, jobs: int) -> Turn:
    folder.mkdir()
    variables = _variables(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")
    return _measured([str(python), "ray_null.py"], variables, folder, jobs, str(folder))


def _variables(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PEER_PICTURE": base64.b64encode(PICTURE).decode(), **more}


def _measured(words: list[str], env: dict[str, str], folder: Path, jobs: int, *more: str) -> Turn:
    command = [*words, str(jobs), str(FLIGHT), *more]
    with (folder / "client.log").open("wb") as log:
        client = subprocess.Popen(command, cwd=HERE, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    with house.ended(client):
        assert client.stdout is not None
        assert client.stdin is not None
        while (line := client.stdout.readline()).strip() != b"ready":
            if not line:
                raise NotHereError(f"{words[-1]}: {(folder / 'client.log').read_text()[-500:]}")
        client.stdin.write(b"go\n")
        client.stdin.flush()
        before, start = machine.busy_seconds(), time.perf_counter()
        told = json.loads(client.stdout.readline())
        wall, busy = time.perf_counter() - start, machine.busy_seconds() - before
    return Turn(
        jobs, told["seconds"], {"machine_cpu_ms_per_job": round(1000 * busy / jobs, 2), "wall_s": round(wall, 2)}
    )


# --- rows --------------------------------------------------------------------------------------------------------


def _rows(found: dict[str, list[Turn]], extra: dict[str, Any]) -> Iterator[Row]:
    rates = {name: Samples([turn.rate for turn in turns]) for name, turns in found.items()}
    ours = rates.pop("gpufair")
    detail = {
        "python": sys.version.split()[0], "packages": house.PACKAGES, "in_flight": FLIGHT, "providers": PROVIDERS,
        "leases": PROVIDERS * LEASES, "jobs_a_turn": found["gpufair"][0].jobs, "ours_per_s": ours.summary(),
        "ours_cpu": found["gpufair"][-1].cpu, **extra,
    }  # fmt: skip
    yield Row("peers", ours.median, None, "jobs/s", detail=detail)
    for name, rate in rates.items():
        goal = "ahead of Celery" if name == "celery" else None
        met = ours.median > rate.median if name == "celery" else None
        detail = {"peer_per_s": rate.summary(), "peer_cpu": found[name][-1].cpu}
        yield Row(f"peers.{name}", ours.median, rate.median, "jobs/s", goal, met, detail)
