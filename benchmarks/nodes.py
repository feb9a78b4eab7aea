"""Real nodes to measure. ONE RULE: what is measured runs as a user runs it: `gpufaird up`, in processes of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import sampler
from benchmarks.machine import cpu_seconds
from benchmarks.running import NotHereError
from benchmarks.sampler import Samples
from gpufair.client.wallet.store import PeerRow
from gpufair.protocol.edge.rows import RowStore
from gpufair.provider.control import ask

GPUFAIRD = str(Path(sys.executable).with_name("gpufaird"))
SAMPLES = "samples.json"
PATIENCE_S = 120.0
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Node:
    """A running gpufaird."""

    home: Path
    address: str
    process: subprocess.Popen[bytes]

    @property
    def did(self) -> str:
        """Its identity."""
        return self.address.partition("@")[0]

    def status(self) -> dict[str, Any]:
        """What `gpufaird status` says."""
        return asyncio.run(ask(self.home / "control.sock", "status"))

    def cpu(self) -> float:
        """Processor seconds of the daemon so far."""
        return cpu_seconds(self.process.pid)

    def sample_anew(self) -> None:
        """Forget what was sampled so far; for a node under a sampler."""
        self.process.send_signal(signal.SIGUSR1)

    def sampled(self) -> Samples:
        """What was sampled since `sample_anew`."""
        file = self.home / SAMPLES
        self.process.send_signal(signal.SIGUSR2)
        until = time.monotonic() + PATIENCE_S
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
        return sampler.read(file)

    def worker_cpu(self) -> float:
        """Processor seconds of its worker processes so far."""
        pid = self.process.pid
        threads = Path(f"/proc/{pid}/task").iterdir()
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
        return sum(cpu_seconds(child) for child in children)


@contextlib.contextmanager
def started(home: Path, *options: str, change: dict[str, str] | None = None, sampled: bool = False) -> Iterator[Node]:
    """Initialise a home, change keys of its configuration, and run a node there for as long as the block lasts.

    `sampled`: under a sampler, see `Node.sampled`.
    """
    port = _free_port()
    gpufaird("init", "--home", str(home), "--listen", f"127.0.0.1:{port}", *options)
    config = home / "config.toml"
    text = config.read_text()
    for key, value in (change or {}).items():
        pattern = rf"^{key} = .*$"
        text = re.sub(pattern, f"{key} = {value}", text, flags=re.M) if re.search(pattern, text, re.M) else text
        if f"{key} = {value}" not in text:
            text = text.replace("[workers]\n", f"[workers]\n{key} = {value}\n")
    config.write_text(text)
    with (home / "log").open("wb") as log:
        program = [sys.executable, "-m", "benchmarks.sampler", str(home / SAMPLES)] if sampled else [GPUFAIRD]
        command = [*program, "up", "--home", str(home)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
    try:
        yield Node(home, f"{_did(home, process)}@127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def market(folder: Path, **change: str) -> Iterator[tuple[Node, Node]]:
    """A ledger node and a provider node whose worker is warm; `change` sets keys of the provider's configuration."""
    with (
        started(folder / "ledger", "--role", "ledger", "--role", "directory") as ledger,
        started(folder / "provider", "--ledger", ledger.address, change={"cpus": "1.0", **change}) as provider,
    ):
        wait_warm(provider)
        yield ledger, provider


def know(store: RowStore, *known: Node) -> None:
    """Write down in a buyer's wallet where to look."""
    with store.begin() as rows:
        for node in known:
            rows.save(PeerRow(node.address.partition("@")[2], node.did, 1))


def wait_warm(provider: Node) -> None:
    """Wait until a worker of the node has a model in memory."""
    until = time.monotonic() + PATIENCE_S
    while not any(model["state"] == "warm" for model in provider.status()["provider"]["models"]):
        if time.monotonic() > until:
            raise NotHereError(f"no worker became warm: {provider.status()['provider']['last_error']}")
        time.sleep(0.2)


def gpufaird(*words: str) -> str:
    """Run an owner's command."""
    done = subprocess.run([GPUFAIRD, *words], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    if done.returncode:
        raise NotHereError(f"gpufaird {words[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def _did(home: Path, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(Exception):
            return str(asyncio.run(ask(home / "control.sock", "status"))["did"])
        time.sleep(0.1)
    raise NotHereError(f"the node did not come up: {(home / 'log').read_text()[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
