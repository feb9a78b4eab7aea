"""Real nodes for the tests. ONE RULE: what is started here is ended here, workers included, whatever the test did.

Nodes are `gpufaird up` in processes of their own, each with a home of its own; only the client lives in this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gpufair.client.config import Home as ClientHome
from gpufair.client.sdk import Client
from gpufair.client.wallet.store import PeerRow
from gpufair.protocol.edge import keys
from gpufair.provider.cli.operator import operator
from gpufair.provider.cli.setup import init
from gpufair.provider.home import Home

BIN = Path(sys.executable).parent
READY_S = 60
CREDITS = 1_000_000


def free_port() -> int:
    """A port that nobody listens on now. Nodes that are started again need one that stays theirs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Node:
    """One `gpufaird`, which may be started, killed and started again."""

    def __init__(
        self, root: Path, *, roles: tuple[str, ...], port: int | None = None, host: str = "127.0.0.1", **choices: Any
    ) -> None:
        self.home = Home(root)
        self.before: list[str] = []
        """What its command line begins with."""
        self.port = port or free_port()
        self.log_file = root.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None
        given = {
            "announce": None,
            "ledger": None,
            "peer": None,
            "runtime": "process",
            "image": "",
            "price": 0,
            "demo_model": True,
            **choices,
        }
        with contextlib.redirect_stdout(None):
            init(home=root, role=list(roles), listen=f"{host}:{self.port}", as_json=True, **given)
        self.did = keys.load(self.home.keys).did

    @property
    def address(self) -> str:
        """As people write it."""
        return f"{self.did}@127.0.0.1:{self.port}"

    def configure(self, *changes: tuple[str, str]) -> None:
        """Replace lines of the configuration by their beginning."""
        lines = self.home.config.read_text().splitlines()
        for begin, line in changes:
            assert any(old.startswith(begin) for old in lines), begin
            lines = [line if old.startswith(begin) else old for old in lines]
        self.home.config.write_text("\n".join(lines) + "\n")

    def start(self) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GPUFAIRD_HOME": str(self.home.root)}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, str(BIN / "gpufaird"), "up"], env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        return self.process

    def up(self) -> Self:
        """Start it and wait until it answers its owner."""
        self.start()
        return self.answering()

    def answering(self) -> Self:
        """Wait until a node that was started answers its owner."""
        process, deadline = self.process, time.monotonic() + READY_S
        assert process is not None
        while True:
            assert process.poll() is None, f"the node ended with {process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"the node does not answer:\n{self.log}"
            try:
                self.ask("status")
            except (OSError, ValueError):
                time.sleep(0.05)
            else:
                return self

    def ask(self, command: str) -> dict[str, Any]:
        """Give an owner's command over the control socket."""
        return self.say(json.dumps({"command": command}).encode() + b"\n")

    def say(self, line: bytes) -> dict[str, Any]:
        """Say anything over the control socket; the answer."""
        with socket.socket(socket.AF_UNIX) as line_:
            line_.settimeout(20)
            line_.connect(str(self.home.socket))
            line_.sendall(line)
            answer = b"".join(iter(lambda: line_.recv(65536), b""))
        said: dict[str, Any] = json.loads(answer)
        return said

    @property
    def provider(self) -> dict[str, Any]:
        """What it says of its sales."""
        said: dict[str, Any] = self.ask("status")["provider"]
        return said

    def warm(self) -> Node:
        """Wait until a model is loaded."""
        deadline = time.monotonic() + READY_S
        while not any(model["state"] == "warm" for model in self.provider["models"]):
            assert time.monotonic() < deadline, f"no worker gets warm: {self.provider}\n{self.log}"
            time.sleep(0.05)
        return self

    async def issue(self, did: str, amount: int) -> None:
        """As the operator of this ledger: put credits into an account."""
        async with operator(self.home.root) as book:
            await book.issue(did, amount, f"cash {did}")

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """All that it ever printed."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def kill(self) -> None:
        """SIGKILL the daemon, and nobody else."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self, patience_s: float = 30) -> int:
        """SIGTERM; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience_s)

    def workers(self) -> list[int]:
        """Worker processes of this node that live: their HOME lies below the node's."""
        mark, found = f"HOME={self.home.workers}/".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(word.startswith(mark) for word in (folder / "environ").read_bytes().split(b"\0")):
                    found.append(int(folder.name))
        return found

    def end(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop(10)
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@dataclass
class Nodes:
    """Makes nodes and ends them all."""

    root: Path
    made: list[Node] = field(default_factory=list)

    def ledger(self, name: str = "ledger") -> Node:
        """A ledger, not started yet."""
        return self._add(Node(self.root / name, roles=("ledger", "directory")))

    def provider(self, ledger: Node, name: str = "provider", *, null: bool = True, **choices: Any) -> Node:
        """A provider that trusts a ledger, not started yet; by default its workers are null workers."""
        made = self._add(Node(self.root / name, roles=("provider", "directory"), ledger=[ledger.address], **choices))
        if null:
            made.configure(("concurrent_jobs", "concurrent_jobs = 1\nnull = true"))
        return made

    def docker_provider(
        self, ledger: Node, docker: dict[str, str], name: str = "docker", *, null: bool = False
    ) -> Node:
        """A provider that runs its jobs in containers of a private engine."""
        made = self.provider(ledger, name, null=null, runtime="docker", image=docker["image"])
        made.configure(("docker_host", f"docker_host = {json.dumps(docker['host'])}"))
        return made

    def own_ledger_provider(self, name: str = "both") -> Node:
        """A null provider that keeps the book itself, as `init` makes one that is told of no ledger."""
        made = self._add(Node(self.root / name, roles=("provider", "directory")))
        made.configure(("concurrent_jobs", "concurrent_jobs = 1\nnull = true"))
        return made

    def buyer(self, ledger: Node, *providers: Node, name: str = "client") -> Buyer:
        """A client's home, with nothing in its account yet."""
        home = ClientHome(self.root / name)
        made = keys.create(home.keys)
        return Buyer(home, made.did, ledger, providers)

    def _add(self, node: Node) -> Node:
        self.made.append(node)
        return node


@dataclass
class Buyer:
    """A client in this process."""

    home: ClientHome
    did: str
    ledger: Node
    providers: tuple[Node, ...]

    async def fund(self, amount: int = CREDITS) -> None:
        """The ledger's operator issues credits to it."""
        await self.ledger.issue(self.did, amount)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Client]:
        """The SDK on this home."""
        async with Client.open(self.home.folder) as client:
            with client.buyer.store.begin() as rows:
                for provider in self.providers:
                    rows.save(PeerRow(f"127.0.0.1:{provider.port}", provider.did, 1))
            yield client


@contextlib.contextmanager
def running_nodes(name: str) -> Iterator[Nodes]:
    """Nodes below a folder of their own; a short one, because a socket's path may have some hundred characters only."""
    root = Path(tempfile.mkdtemp(prefix=f"gf-{name}-"))
    nodes, failed = Nodes(root), True
    try:
        yield nodes
        failed = False
    finally:
        for node in nodes.made:
            node.end()
        left = [pid for node in nodes.made for pid in node.workers()]
        shutil.rmtree(root, ignore_errors=True)
        assert failed or not left, f"workers outlived their node: {left}"
