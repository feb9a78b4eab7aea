"""What the market adds to a picture. ONE RULE: all three ways make the same pixels from the same seed, in turns.

Ours: a job under an open lease, from before it is written down until its picture is open (sign, seal, stream,
encrypt, voucher, commit: all of it). The peer: the same pipeline in a plain loop. Between them, to see where the
rest goes: the same worker asked directly over its frames, without a market.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image

from benchmarks import machine, nodes
from benchmarks.buying import OpenLease, Picture, open_lease
from benchmarks.rows import Row, Samples
from benchmarks.running import Options, say
from gpufair.protocol import frames
from gpufair.protocol.edge.system import SystemRandom
from gpufair.provider.models.store import ModelStore
from gpufair.provider.workers.outcome import PictureResult
from gpufair.provider.workers.pool import Pool
from gpufair.provider.workers.process import ProcessRuntime, environment
from gpufair.provider.workers.runtime import WorkerSpec

ADDED_MS = 25.0
STEPS, SIDE, GUIDANCE, PROMPT = 20, 64, 2.5, "red apple"


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    rounds = options.rounds(40, 6)
    with nodes.market(options.folder, runtime='"process"') as (ledger, provider):
        model = ModelStore(provider.home / "models").list()[0]
        folder = ModelStore(provider.home / "models").path(model.digest)
        with PlainLoop(folder) as plain, machine.watched() as state:
            floor = machine.sync_ms(options.folder)
            measured = asyncio.run(_rounds(options.folder, ledger, provider, plain, model.digest, rounds))
    yield from _rows(measured, floor, state)


class PlainLoop:
    """The peer's process."""

    def __init__(self, folder: Path) -> None:
        spec = WorkerSpec(models=folder, memory_bytes=4 << 30, threads=1)
        env = {**environment(spec, folder), "HOME": "/nonexistent"}
        command = [sys.executable, str(Path(__file__).with_name("plain_loop.py")), str(folder)]
        # A session of its own, as the worker has: the kernel shares processors out by session.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True, start_new_session=True
        )

    def __enter__(self) -> PlainLoop:
        self._line()
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()

    def picture(self, seed: int) -> dict[str, Any]:
        """One picture: milliseconds, processor milliseconds, PNG."""
        ask = {"prompt": PROMPT, "negative": "", "seed": seed, "steps": STEPS, "side": SIDE, "guidance": GUIDANCE}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the plain loop has ended")
        return line


class Measured:
    """What the rounds gave."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.plain: list[float] = []
        self.direct: list[tuple[float, float]] = []
        self.cpu: dict[str, float] = {}
        self.same_pixels = 0


async def _rounds(
    folder: Path, ledger: nodes.Node, provider: nodes.Node, plain: PlainLoop, model: bytes, rounds: int
) -> Measured:
    measured = Measured()
    async with _worker(folder, provider, model) as pool, open_lease(folder, ledger, provider) as lease:
        for seed in range(3):
            await _round(lease, pool, plain, model, seed)
        before = _cpu(ledger, provider)
        plain_cpu = 0.0
        for number in range(rounds):
            seed = 1000 + number
            picture, direct, peer = await _round(lease, pool, plain, model, seed)
            measured.pictures.append(picture)
            measured.direct.append(direct)
            measured.plain.append(peer["ms"])
            plain_cpu += peer["cpu_ms"]
            measured.same_pixels += _pixels(picture.png) == _pixels(base64.b64decode(peer["png"]))
            if number % 20 == 19:
                say(f"market: round {number + 1} of {rounds}")
        after = _cpu(ledger, provider)
        measured.cpu = {f"{name}_cpu_ms": round(1000 * (after[name] - before[name]) / rounds, 1) for name in after}
        measured.cpu["plain_cpu_ms"] = round(plain_cpu / rounds, 1)
    return measured


async def _round(
    lease: OpenLease, pool: Pool, plain: PlainLoop, model: bytes, seed: int
) -> tuple[Picture, tuple[float, float], dict[str, Any]]:
    picture = await lease.buy(seed=seed)
    peer = await asyncio.to_thread(plain.picture, seed)
    direct = await _direct(pool, model, seed)
    return picture, direct, peer


async def _direct(pool: Pool, model: bytes, seed: int) -> tuple[float, float]:
    """A picture of the worker asked directly: milliseconds in all, and without the steps."""
    run = frames.Run(
        attempt=hashlib.sha256(b"%d" % seed).digest()[:16], model=model, prompt=PROMPT, seed=seed, steps=STEPS,
        guidance_milli=round(GUIDANCE * 1000), width=SIDE, height=SIDE, scheduler="ddim",
    )  # fmt: skip
    start, first, last = perf_counter(), 0.0, 0.0
    async with contextlib.aclosing(pool.run(run)) as events:
        async for event in events:
            if isinstance(event, frames.Step):
                last = perf_counter()
                first = first or last
            if isinstance(event, PictureResult):
                end = perf_counter()
                return (end - start) * 1000, (first - start + end - last) * 1000
    raise RuntimeError("the worker made no picture")


@contextlib.asynccontextmanager
async def _worker(folder: Path, provider: nodes.Node, model: bytes) -> AsyncIterator[Pool]:
    models = provider.home / "models"
    spec = WorkerSpec(models=models / "content", memory_bytes=4 << 30, threads=1)
    runtime = ProcessRuntime(node="benchmark", state=folder)
    pool = Pool(runtime, (spec,), ModelStore(models).path, SystemRandom())
    await pool.warm(model)
    try:
        yield pool
    finally:
        await pool.close()


def _cpu(ledger: nodes.Node, provider: nodes.Node) -> dict[str, float]:
    return {
        "ledger": ledger.cpu(), "provider": provider.cpu(), "worker": provider.worker_cpu(),
        "buyer_and_benchmark": machine.cpu_seconds(os.getpid()),
    }  # fmt: skip


def _pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).convert("RGB").tobytes()


def _rows(measured: Measured, floor: Samples, state: dict[str, Any]) -> Iterator[Row]:
    ours = Samples([(p.opened - p.placed) * 1000 for p in measured.pictures])
    plain, direct = Samples(measured.plain), Samples([total for total, _ in measured.direct])
    outside = Samples([(p.first - p.placed + p.opened - p.last) * 1000 for p in measured.pictures])
    direct_outside = Samples([rest for _, rest in measured.direct])
    pairs = zip(ours.values, plain.values, strict=True)
    added = Samples([mine - theirs for mine, theirs in pairs])
    parts = {
        "place (sign, seal, commit)": lambda p: p.sent - p.placed,
        "accepted": lambda p: p.accepted - p.sent,
        "paid up front, queued, first frame": lambda p: p.first - p.accepted,
        "the worker's steps": lambda p: p.last - p.first,
        "decode, encrypt, deliver, lock": lambda p: p.locked - p.last,
        "voucher, key, open": lambda p: p.opened - p.locked,
    }
    where = {
        name: round(Samples([1000 * part(p) for p in measured.pictures]).median, 2) for name, part in parts.items()
    }
    detail = {
        "added_ms": added.summary(), "ours_ms": ours.summary(), "plain_ms": plain.summary(),
        "same_pixels": f"{measured.same_pixels} of {len(ours.values)}", "where_ms": where,
        "disk_sync_ms": floor.summary(), "per_picture": measured.cpu, "machine": state,
    }  # fmt: skip
    met = added.median <= ADDED_MS
    goal = f"≤ {ADDED_MS:g} ms added"
    yield Row("market", ours.median, plain.median, "ms/picture", f"{goal} (is {added.median:.1f})", met, detail)
    rest = outside.median - direct_outside.median
    detail = {"ours_ms": outside.summary(), "worker_ms": direct_outside.summary()}
    goal = f"≤ {ADDED_MS:g} ms added (is {rest:.1f})"
    yield Row(
        "market.without_steps", outside.median, direct_outside.median, "ms/picture", goal, rest <= ADDED_MS, detail
    )
    yield Row("market.worker", direct.median, plain.median, "ms/picture", detail={"direct_ms": direct.summary()})
