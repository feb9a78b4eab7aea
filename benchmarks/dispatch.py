"""How soon a worker gets a job. ONE RULE: echo and dispatch take turns, and the echo carries dispatch's own bytes.

Ours: from the job's header being handed to the stream until the null worker's first frame is here: acceptance, sealed
body, queue, worker; every document signed, checked and on disk before it is answered. Under the row `prepaid` the price
sheet has a minimum, so that one more voucher must be signed, checked and stored before the body goes out. The peer: one
message with all of dispatch's bytes up, one with all of its bytes down, on a bare grpc.aio stream over TLS between two
processes. Payment needs two round trips (the body goes out once the acceptance is there), so the same bytes in two
round trips are shown too, and so is what the disk alone takes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc.aio

from benchmarks import machine, nodes
from benchmarks.buying import Picture, open_lease
from benchmarks.rows import Row, Samples
from benchmarks.running import Options
from gpufair.protocol.edge import tls

GOAL_MS, GOAL_TIMES = 5.0, 6.0


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    yield from _rows("dispatch", *_measured(options, options.folder / "plain", minimum="0"))
    yield from _rows("dispatch.prepaid", *_measured(options, options.folder / "prepaid", minimum="1000"))


def _measured(
    options: Options, folder: Path, *, minimum: str
) -> tuple[list[Picture], list[float], list[float], dict[str, Any]]:
    rounds = options.rounds(200, 30)
    folder.mkdir()
    with (
        nodes.market(folder, runtime='"process"', null="true", minimum=minimum) as (ledger, provider),
        _echo_server(provider.home / "keys") as (port, certificate),
        machine.watched() as state,
    ):
        floor = machine.sync_ms(folder)
        pictures, once, twice, cpu = asyncio.run(_rounds(folder, ledger, provider, port, certificate, rounds))
    return pictures, once, twice, {**cpu, "disk_sync_ms": floor.summary(), "machine": state}


async def _rounds(
    folder: Path, ledger: nodes.Node, provider: nodes.Node, port: int, certificate: bytes, rounds: int
) -> tuple[list[Picture], list[float], list[float], dict[str, Any]]:
    pictures: list[Picture] = []
    once: list[float] = []
    twice: list[float] = []
    async with open_lease(folder, ledger, provider) as lease, _echo(port, certificate) as echo:
        sizes = await lease.buy(seed=0, steps=1)
        for number in range(rounds + rounds // 10):
            if number == rounds // 10:  # what came before only warmed up
                pictures, once, twice = [], [], []
                before = provider.cpu(), machine.cpu_seconds(os.getpid())
            pictures.append(await lease.buy(seed=number, steps=1))
            once.append(await echo.round([(sizes.bytes_up, sizes.bytes_down)]))
            half = (sizes.bytes_up // 2, sizes.bytes_down // 2)
            twice.append(await echo.round([half, half]))
    cpu = {
        "provider_cpu_ms_per_job": round(1000 * (provider.cpu() - before[0]) / rounds, 2),
        "buyer_and_benchmark_cpu_ms_per_job": round(1000 * (machine.cpu_seconds(os.getpid()) - before[1]) / rounds, 2),
        "bytes_up": sizes.bytes_up,
        "bytes_down": sizes.bytes_down,
    }
    return pictures, once, twice, cpu


class _Echo:
    """The client's end of the echo's stream."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def round(self, messages: list[tuple[int, int]]) -> float:
        """Send messages of these sizes, each answered by one of that size, one after another; milliseconds for all."""
        start = perf_counter()
        for up, down in messages:
            await self._call.write((b"%08d" % down).ljust(up, b"x"))
            answer = await self._call.read()
            assert len(answer) == down
        return (perf_counter() - start) * 1000


@asynccontextmanager
async def _echo(port: int, certificate: bytes) -> AsyncIterator[_Echo]:
    secure = grpc.ssl_channel_credentials(certificate)
    options = (("grpc.ssl_target_name_override", tls.NODE_NAME),)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", secure, options) as channel:
        call = channel.stream_stream("/bench.Echo/Echo")()
        yield _Echo(call)
        await call.done_writing()


class _echo_server:  # noqa: N801 -- used as a context manager
    def __init__(self, folder: Path) -> None:
        self._certificate, self._key = folder / "tls-cert.pem", folder / "tls-key.pem"

    def __enter__(self) -> tuple[int, bytes]:
        script = str(Path(__file__).with_name("echo_server.py"))
        command = [sys.executable, script, str(self._certificate), str(self._key)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        return int(self._process.stdout.readline()), self._certificate.read_bytes()

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()


def _rows(
    name: str, pictures: list[Picture], once: list[float], twice: list[float], extra: dict[str, Any]
) -> Iterator[Row]:
    ours = Samples([(p.first - p.sent) * 1000 for p in pictures])
    echo, echo_twice = Samples(once), Samples(twice)
    detail = {
        "ours_ms": ours.summary(), "echo_ms": echo.summary(), "echo_two_round_trips_ms": echo_twice.summary(),
        "first_fifty_of_the_lease_ms": Samples(ours.values[:50]).summary(),
        "last_fifty_of_the_lease_ms": Samples(ours.values[-50:]).summary(),
        "accepted_ms": Samples([(p.accepted - p.sent) * 1000 for p in pictures]).summary(),
        "after_acceptance_ms": Samples([(p.first - p.accepted) * 1000 for p in pictures]).summary(),
        "whole_job_ms": Samples([(p.opened - p.placed) * 1000 for p in pictures]).summary(),
        **extra,
    }  # fmt: skip
    goal = f"≤ {GOAL_MS:g} ms and ≤ {GOAL_TIMES:g}x echo"
    met = ours.median <= GOAL_MS and ours.median <= GOAL_TIMES * echo.median
    yield Row(name, ours.median, echo.median, "ms", goal, met, detail)
    yield Row(f"{name}.two_trips", ours.median, echo_twice.median, "ms")
