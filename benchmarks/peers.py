"""Null jobs a second over four providers. ONE RULE: the same null task, as many workers, as many under way, in turns.

Ours: four provider nodes with null workers and a ledger node, one buyer's process with several leases of each (one job
of a lease is at work at a time), every job signed, sealed, metered, delivered against a lock, paid and on disk on both
sides before it is answered. The peers: Celery over Redis with four worker processes, as it comes and with a Redis that
writes to disk before it answers; and Ray with four. They sign, encrypt, meter and bill nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import fleet, machine
from benchmarks.fleet import FLIGHT, LEASES, PROVIDERS
from benchmarks.peer import house
from benchmarks.rows import Row, Samples
from benchmarks.running import NotHereError, Options, say
from gpufair.provider.inference.null import PICTURE

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
    with fleet.running(folder) as running:
        return asyncio.run(_buy(running, jobs))


async def _buy(running: fleet.Fleet, jobs: int) -> Turn:
    async with running.leases() as leases:
        await fleet.buy(leases, jobs // 5)
        before = running.cpu()
        seconds = await fleet.buy(leases, jobs)
        after = running.cpu()
    spent = {f"{name}_cpu_ms_per_job": round(1000 * (after[name] - before[name]) / jobs, 2) for name in after}
    return Turn(jobs, seconds, spent)


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
