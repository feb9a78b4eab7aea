"""The port `Runtime`: start a worker, speak frames with it, end it. Rule: a worker is described by the owner alone.

`WorkerSpec` is all that an engine ever hears about a worker. It holds no path, device, variable, flag or command that a
buyer could have chosen, and no adapter takes anything beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from gpufair.protocol.frames import FromWorker, ToWorker
from gpufair.protocol.limits import MIB
from gpufair.protocol.messages.market import Isolation

LABEL_NODE = "gpufair.node"
LABEL_WORKER = "gpufair.worker"


class Variant(Enum):
    """Which program runs: the worker, or the one that speaks the frames and does no work."""

    WORKER = "gpufair.provider.inference"
    NULL = "gpufair.provider.inference.null"


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What the owner grants one worker.

    `models` is the folder it may read; memory in bytes (swap excluded); `cpu_milli` thousandths of a core; `pids`
    processes and threads; `threads` what the worker should compute with; `gpu` one device's UUID, or None for the CPU;
    `dtype` and `compile` how its denoisers compute; `weights_bytes` the memory for weights, 0: what the worker finds.
    """

    models: Path
    memory_bytes: int
    cpu_milli: int = 1000
    pids: int = 128
    threads: int = 1
    gpu: str | None = None
    variant: Variant = Variant.WORKER
    dtype: str = "float32"
    compile: bool = False
    weights_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.models.is_absolute():
            raise ValueError(f"the models folder must be an absolute path, not {self.models}")
        if self.memory_bytes < 64 * MIB:
            raise ValueError(f"a worker with {self.memory_bytes} bytes of memory can't start; give it at least 64 MiB")
        if min(self.cpu_milli, self.pids, self.threads) < 1:
            raise ValueError("cores, processes and threads are at least one")
        if self.gpu is not None and not _is_device(self.gpu):
            raise ValueError(f"{self.gpu!r} is no device UUID")


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended: its exit status (negative or above 128: a signal), and whether its memory ran out."""

    status: int | None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Leftover:
    """A worker of this node that an earlier run of the daemon left: its id, and the engine's own name for it."""

    worker: str
    handle: str


class Worker(Protocol):
    """A started worker. One task receives; any may send."""

    @property
    def id(self) -> str:
        """The worker's own id, unique for the node."""
        ...

    @property
    def exit(self) -> WorkerExit | None:
        """How it ended; None while it runs or as long as nobody has asked (`receive` gave None, or `kill`)."""
        ...

    @property
    def log_tail(self) -> str:
        """The last lines that it wrote to stderr: bounded, and safe to print."""
        ...

    @property
    def alive(self) -> bool:
        """False as soon as its pipe has ended or broken."""
        ...

    def model_path(self, folder: Path) -> str:
        """How the worker sees `folder`, which lies under the spec's models folder."""
        ...

    async def send(self, frame: ToWorker) -> None:
        """Give the worker a frame. `PeerError` when it has gone."""
        ...

    async def receive(self) -> FromWorker | None:
        """The worker's next frame; None once it has ended. `PeerError` when it breaks the frame protocol.

        Asking for a frame gives the worker its credit for the one before: who stops asking stops the worker.
        """
        ...

    async def kill(self) -> None:
        """End it now, with all of its processes, and remove what it leaves. May be called again."""
        ...


class Runtime(Protocol):
    """Starts workers on this machine."""

    @property
    def name(self) -> str:
        """The adapter, for people."""
        ...

    @property
    def isolation(self) -> Isolation:
        """What stands between a worker and the machine."""
        ...

    @property
    def worker_image(self) -> bytes:
        """The 32-byte digest of the program that workers run, for offers and leases."""
        ...

    async def start(self, spec: WorkerSpec, worker: str) -> Worker:
        """Start a worker under the id `worker`, limits in force. `LocalError` if it can't be; nothing is left then."""
        ...

    async def leftovers(self) -> list[Leftover]:
        """The workers of our node that still exist, whoever started them."""
        ...

    async def reap(self, leftover: Leftover) -> None:
        """End a leftover and remove it; no error if it has gone."""
        ...

    async def close(self) -> None:
        """Let go of the engine. Workers are the caller's to end first."""
        ...


def _is_device(text: str) -> bool:
    return 0 < len(text) <= 80 and text.isascii() and all(c.isalnum() or c == "-" for c in text)
