"""Honest buyers during floods. ONE RULE: the same job of the same buyer, idle and under each flood, in one run.

The flooder is a process of its own that comes from another address (`flooder`). It takes processor time from node and
buyer alike, which a flooder elsewhere would not: on two cores the ratios are worse than they would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from benchmarks import machine, nodes
from benchmarks.buying import OpenLease, open_lease
from benchmarks.flooder import KINDS
from benchmarks.rows import Row, Samples
from benchmarks.running import Options

GOAL_TIMES = 5.0
PAUSE_S = 0.02
"""Between an honest buyer's jobs."""


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    rounds = options.rounds(300, 60)
    with (
        nodes.market(options.folder, runtime='"process"', null="true") as (ledger, provider),
        machine.watched() as state,
    ):
        found = asyncio.run(_measured(options, ledger, provider, rounds))
    idle = found.pop("idle")[0]
    for kind, (under, told) in found.items():
        ratio = under.percentile(0.99) / idle.percentile(0.99)
        detail = {
            "ours_ms": under.summary(), "peer_ms": idle.summary(), "median_ratio": round(under.median / idle.median, 2),
            "flooder": told, "machine": state,
        }  # fmt: skip
        goal = f"honest p99 ≤ {GOAL_TIMES:g}x idle"
        yield Row(
            f"floods.{kind}",
            under.percentile(0.99),
            idle.percentile(0.99),
            "ms, p99",
            goal,
            ratio <= GOAL_TIMES,
            detail,
        )


async def _measured(
    options: Options, ledger: nodes.Node, provider: nodes.Node, rounds: int
) -> dict[str, tuple[Samples, dict[str, Any]]]:
    found: dict[str, tuple[Samples, dict[str, Any]]] = {}
    async with open_lease(options.folder, ledger, provider) as lease:
        await _honest(lease, rounds // 5)
        found["idle"] = await _honest(lease, rounds), {}
        for kind in KINDS:
            async with _flood(kind, provider) as told:
                found[kind] = await _honest(lease, rounds), told
            await _honest(lease, rounds // 5)  # what the flood left is worked off
    return found


async def _honest(lease: OpenLease, rounds: int) -> Samples:
    """Milliseconds from a job's being sent to the worker's first frame."""
    values = []
    for number in range(rounds):
        picture = await lease.buy(seed=number, steps=1)
        values.append(1000 * (picture.first - picture.sent))
        await asyncio.sleep(PAUSE_S)
    return Samples(values)


@contextlib.asynccontextmanager
async def _flood(kind: str, provider: nodes.Node) -> AsyncIterator[dict[str, Any]]:
    """A flood for as long as the block lasts; then what became of it."""
    told: dict[str, Any] = {}
    words = [sys.executable, "-m", "benchmarks.flooder", kind, provider.address]
    process = await asyncio.create_subprocess_exec(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        begun = time.perf_counter()
        yield told
        told["seconds"] = round(time.perf_counter() - begun, 1)
        process.stdin.close()
        told |= json.loads(await process.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
