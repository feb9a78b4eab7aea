"""Where a null job's processor time goes. ONE RULE: the same run as `peers` measures, under a sampler, in milliseconds.

A row for the buyer, the providers and the ledger, with what each does more than pass a message on in `detail`: by kind
of work, and the functions that cost most.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks import fleet, machine
from benchmarks.rows import Row
from benchmarks.running import Options
from benchmarks.sampler import Sampler, Samples

SHOWN = 25
KINDS = (
    ("gRPC's threads", ("selectors.py",)),
    ("event loop, gRPC in Python", ("asyncio/", "grpc/", "aio/", "_cython")),
    ("SQL statements, rows", ("edge/rows.py", "wallet/<string>", "jobs/<string>")),
    ("begin, commit", ("edge/sqlite.py", "contextlib.py")),
    ("signatures", ("protocol/identity.py",)),
    ("sealing, encryption", ("protocol/sealing.py", "hazmat/", "protocol/payment.py", "edge/sealing_keys.py")),
    ("documents, messages", ("protocol/codec.py", "protocol/wire.py", "protocol/envelope.py", "protocol/fields.py",
                             "protocol/heads.py", "messages/", "<string>:made", "edge/streams.py", "edge/calls.py")),
    ("frames", ("protocol/frame", "workers/")),
)  # fmt: skip
OTHERS = "the house's own rules"


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    jobs = options.rounds(1000, 200)
    with machine.watched() as state, fleet.running(options.folder, sampled=True) as running:
        spent, samples, seconds = asyncio.run(_bought(running, jobs))
    for who, found in samples.items():
        ours = 1000 * spent[who] / jobs
        detail = {**_shares(found, ours), "jobs": jobs, "jobs_per_s": round(jobs / seconds), "machine": state}
        yield Row(f"costs.{who}", ours, None, "ms/job", detail=detail)
    yield Row("costs.workers", 1000 * spent["workers"] / jobs, None, "ms/job", detail={"machine": state})


async def _bought(running: fleet.Fleet, jobs: int) -> tuple[dict[str, float], dict[str, Samples], float]:
    sampler = Sampler()
    async with running.leases() as leases:
        await fleet.buy(leases, jobs // 5)
        for node in (running.ledger, *running.providers):
            node.sample_anew()
        sampler.start()
        before = running.cpu()
        seconds = await fleet.buy(leases, jobs)
        after = running.cpu()
        sampler.stop()
        sold = sum((provider.sampled() for provider in running.providers), Samples())
        samples = {"buyer": sampler.found, "providers": sold, "ledger": running.ledger.sampled()}
    return {who: after[who] - before[who] for who in after}, samples, seconds


def _shares(found: Samples, ms: float) -> dict[str, Any]:
    """The samples as milliseconds of a job: by kind, and the functions with most of them."""
    each = ms / max(1, sum(found.values()))
    kinds: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for (inner, ours), count in found.items():
        kinds[_kind(inner)] += count
        functions[inner if inner == ours or not ours else f"{inner} for {ours}"] += count
    return {
        "kinds": {kind: round(count * each, 2) for kind, count in kinds.most_common()},
        "functions": {name: round(count * each, 3) for name, count in functions.most_common(SHOWN)},
        "samples": sum(found.values()),
    }


def _kind(function: str) -> str:
    return next((kind for kind, marks in KINDS if any(mark in function for mark in marks)), OTHERS)
