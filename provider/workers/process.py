"""Workers as plain processes: the default where no engine can be had. Rule: it runs our own worker and nothing else.

Nothing but the operating system's accounts stands between such a worker and the machine, and the offer says so
(isolation NONE). Limits here keep an honest worker's accident small; they don't hold a hostile one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from pathlib import Path

from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.frames import FromWorker, ToWorker
from gpufair.protocol.limits import MIB
from gpufair.protocol.messages.market import Isolation
from gpufair.provider.workers.channel import Channel, LogTail
from gpufair.provider.workers.child import Child
from gpufair.provider.workers.pidfiles import PidFiles
from gpufair.provider.workers.runtime import Leftover, WorkerExit, WorkerSpec

GRACE_SECONDS = 1.0
INTERPRETER_BYTES = 1024 * MIB
"""What the limit on data grants beside the spec's memory: threads' stacks count in full, though little is touched."""
REAP_PATIENCE = 100
REAP_PAUSE = 0.05
OUR_CODE = ("protocol", "provider/inference", "provider/models")


class ProcessWorker:
    """One child process that speaks frames."""

    def __init__(self, child: Child, worker: str, files: PidFiles) -> None:
        self.id = worker
        self.exit: WorkerExit | None = None
        self._child, self._files = child, files
        self._log = LogTail()
        self._channel = Channel(child, self._log)
        self._listener = asyncio.create_task(self._listen(), name="worker-log")

    @property
    def log_tail(self) -> str:
        """The end of its stderr."""
        return str(self._log)

    @property
    def alive(self) -> bool:
        """Whether its pipe still stands."""
        return self._channel.alive

    def model_path(self, folder: Path) -> str:
        """A process sees the machine's own paths."""
        return str(folder)

    async def send(self, frame: ToWorker) -> None:
        """As `Worker.send`."""
        await self._channel.send(frame)

    async def receive(self) -> FromWorker | None:
        """As `Worker.receive`."""
        frame = await self._channel.receive()
        if frame is None:
            # It closes its pipe a moment before it has ended; killed in that moment, its own exit status would be lost.
            await self._child.ended(GRACE_SECONDS)
            await self.kill()
        return frame

    async def kill(self) -> None:
        """End the process group, wait for it, remove its folder."""
        if self.exit is not None:
            return
        status = await self._child.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._listener), GRACE_SECONDS)
        self._listener.cancel()
        await self._channel.close()
        self.exit = WorkerExit(status)
        self._files.forget(self.id)

    async def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._child.read_log():
                try:
                    self._log.add(data)
                except PeerError:
                    self._child.strike()


class ProcessRuntime:
    """Runs our own worker with this Python. `state` is a folder of this daemon's own."""

    name = "process"
    isolation = Isolation.NONE

    def __init__(self, node: str, state: Path) -> None:
        self._folder = state / "workers"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files = PidFiles(self._folder, node)
        self.worker_image = own_code_digest()

    async def start(self, spec: WorkerSpec, worker: str) -> ProcessWorker:
        """Start `python -m gpufair.provider.inference` (or its null sister) under limits."""
        if not worker.isalnum():
            raise LocalError(Fault.INTERNAL, "a worker's id is letters and digits")
        scratch = self._files.scratch(worker)
        # RLIMIT_DATA counts what a GPU driver maps but never touches, so it can only bound a worker on the CPU.
        data_bytes = 0 if spec.gpu else spec.memory_bytes + INTERPRETER_BYTES
        launcher = Path(__file__).with_name("launch.py")
        command = [sys.executable, "-I", "-S", str(launcher), str(os.getpid()), str(data_bytes), spec.variant.value]
        try:
            child = Child(command, scratch, environment(spec, scratch))
        except OSError as err:
            self._files.forget(worker)
            raise LocalError(Fault.UNAVAILABLE, f"a worker process could not be started: {err}") from err
        self._files.note(worker, child.pid)
        return ProcessWorker(child, worker, self._files)

    async def leftovers(self) -> list[Leftover]:
        """Worker processes that an earlier daemon left, or that run now."""
        return self._files.leftovers()

    async def reap(self, leftover: Leftover) -> None:
        """Kill the process group of a leftover, after checking that it still is that process."""
        self._files.kill(leftover.worker)
        for _ in range(REAP_PATIENCE):
            if not self._files.running(leftover.worker):
                self._files.forget(leftover.worker)
                return
            await asyncio.sleep(REAP_PAUSE)
        raise LocalError(Fault.UNAVAILABLE, f"worker process {leftover.handle} doesn't end", hint="end it by hand")

    async def close(self) -> None:
        """Nothing is held."""


def environment(spec: WorkerSpec, scratch: Path) -> dict[str, str]:
    """All that a worker learns from its environment: nothing of the owner's, no secret, no proxy, no hub."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(spec.threads),
        "CUDA_VISIBLE_DEVICES": spec.gpu or "",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def own_code_digest() -> bytes:
    """SHA-256 over the sources that a worker process runs: each file's path and content, in path order."""
    root = Path(__file__).parents[2]
    total = hashlib.sha256(b"gpufair/worker-code/v1\x00")
    for path in sorted(p for folder in OUR_CODE for p in (root / folder).rglob("*.py")):
        name = path.relative_to(root).as_posix().encode()
        for part in (name, path.read_bytes()):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.digest()
