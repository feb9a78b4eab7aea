"""A worker of our own, to do a step again. Rule: a process that speaks frames; nothing of a provider's is imported.

It runs as a provider's does, without network or hub, and it is as much like the provider's as this machine can be: the
closer the two are, the less an honest difference can hide.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TypeVar, cast

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError, PeerError, printable
from gpufair.protocol.frames import (
    VERSION,
    Failed,
    Frame,
    FrameLink,
    FromWorker,
    Hello,
    Input,
    Load,
    Loaded,
    LoadFailed,
    Ready,
    Replay,
    Replayed,
    RuntimeProfile,
    Stop,
)
from gpufair.protocol.messages.audit import Profile

MODULE = "gpufair.provider.inference"
CPU = "cpu"
FULL = "float32"
_NONCE = bytes(16)
"""Only we have its pipe: there is nobody else whom it could answer."""
_READ = 64 * limits.KIB
_LOG_KEPT = 400
_START_S = limits.WORKER_START_MS / 1000
_WORK_S = 900.0
_THREADS_MAX = 1024

F = TypeVar("F")
_LOADS: tuple[type[Loaded] | type[LoadFailed], ...] = (Loaded, LoadFailed)
_VERDICTS: tuple[type[Replayed] | type[Failed], ...] = (Replayed, Failed)


class Worker:
    """One worker process, asked one thing at a time."""

    def __init__(self, process: Process, log: IO[bytes]) -> None:
        self._process, self._log = process, log
        self._link = FrameLink.of_node()
        self._arrived: deque[FromWorker] = deque()
        self.profile: RuntimeProfile

    async def greet(self, hello: Hello) -> None:
        """Say hello. Raises LocalError if it does not answer as it should."""
        await self.say(hello)
        ready = await self._first(Ready, _START_S)
        self.profile = ready.profile

    async def load(self, digest: bytes, folder: Path, kind: str = "model") -> None:
        """Have a model or an adapter in memory. Raises LocalError with the worker's words."""
        await self.say(Load(digest, str(folder), kind))
        answer = await self._first(_LOADS, _WORK_S)
        if isinstance(answer, LoadFailed):
            raise LocalError(Fault.MALFORMED, f"{folder} can't be used: {answer.message}")

    async def replay(self, order: Replay, inputs: Sequence[bytes]) -> Replayed:
        """Have a step judged. Raises LocalError if the worker can't do it."""
        await self.give(order.run.attempt, inputs)
        await self.say(order)
        answer = await self._first(_VERDICTS, _WORK_S)
        if isinstance(answer, Failed):
            raise LocalError(Fault.UNAVAILABLE, f"the step can't be done again here: {answer.message}")
        return answer

    async def give(self, attempt: bytes, inputs: Sequence[bytes]) -> None:
        """Give it what an attempt begins from, before its order."""
        for index, data in enumerate(inputs):
            for offset in range(0, len(data), limits.OUTPUT_CHUNK):
                piece = data[offset : offset + limits.OUTPUT_CHUNK]
                await self.say(Input(attempt, index, offset, len(data), piece))

    async def say(self, frame: Frame) -> None:
        """Give it a frame, waiting until it has room."""
        self._link.send(frame)
        await self._flush()
        while self._link.waiting:
            await self._more()

    async def hear(self) -> FromWorker:
        """Its next frame. Raises LocalError if it ends or breaks the protocol."""
        while not self._arrived:
            await self._more()
        self._link.consumed()
        return self._arrived.popleft()

    async def end(self) -> None:
        """End it, kindly first."""
        if self._process.returncode is None:
            try:
                await asyncio.wait_for(self.say(Stop()), 1)
                await asyncio.wait_for(self._process.wait(), 2)
            except (TimeoutError, LocalError, OSError):
                self._process.kill()
                await self._process.wait()

    async def _first(self, kinds: type[F] | tuple[type[F], ...], within_s: float) -> F:
        """The first frame of these kinds; others are not for us."""
        try:
            async with asyncio.timeout(within_s):
                while not isinstance(frame := await self.hear(), kinds):
                    pass
        except TimeoutError as error:
            raise LocalError(Fault.UNAVAILABLE, f"the worker said nothing for {within_s:.0f} s") from error
        return frame

    async def _more(self) -> None:
        assert self._process.stdout is not None
        await self._flush()
        try:
            data = await self._process.stdout.read(_READ)
            if not data:
                raise self._gone()
            self._arrived += cast("list[FromWorker]", self._link.feed(data))
        except PeerError as error:
            raise LocalError(Fault.INTERNAL, f"the worker breaks its protocol: {error.what}") from error
        await self._flush()

    async def _flush(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(self._link.outgoing())
            await self._process.stdin.drain()
        except OSError as error:
            raise self._gone() from error

    def _gone(self) -> LocalError:
        self._log.seek(0)
        last = printable(self._log.read()[-_LOG_KEPT:].decode(errors="replace").strip())
        return LocalError(Fault.UNAVAILABLE, f"the worker has ended: {last or 'without a word'}")


@asynccontextmanager
async def started(device: str, dtype: str, threads: int) -> AsyncIterator[Worker]:
    """A worker for as long as the block lasts. Raises LocalError: no torch, no such device, no memory."""
    check_installed()
    with tempfile.TemporaryDirectory(prefix="gpufair-audit-") as folder, tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", MODULE, stdin=PIPE, stdout=PIPE, stderr=log, cwd=folder,
            env=_environment(folder, device, threads), start_new_session=True,
        )  # fmt: skip
        worker = Worker(process, log)
        try:
            await worker.greet(Hello(VERSION, _NONCE, threads, device, dtype))
            yield worker
        finally:
            await worker.end()


@asynccontextmanager
async def like(profile: Profile) -> AsyncIterator[Worker]:
    """A worker as much like the one of this profile as there can be here."""
    threads = threads_of(profile)
    here = False
    if profile.device_kind != CPU or profile.dtype != FULL:
        try:
            async with started(profile.device_kind, profile.dtype, threads) as worker:
                here = True
                yield worker
        except LocalError:
            if here:
                raise
    if not here:
        async with started(CPU, FULL, threads) as worker:
            yield worker


def threads_of(profile: Profile) -> int:
    """How many threads the other one computes with, where it says so; else one."""
    for flag in profile.flags:
        word, _, number = flag.partition(" ")
        if word == "threads" and number.isascii() and number.isdigit() and 1 <= int(number[:6]) <= _THREADS_MAX:
            return int(number)
    return 1


def check_installed() -> None:
    """Raise LocalError unless what a worker computes with is installed; nothing of it is loaded."""
    missing = [name for name in ("torch", "diffusers", "transformers") if find_spec(name) is None]
    if missing:
        hint = "to do a step again takes what a provider has: pip install 'gpufair[inference]'"
        raise LocalError(Fault.UNAVAILABLE, f"{', '.join(missing)} is not installed here", hint=hint)


def _environment(folder: str, device: str, threads: int) -> dict[str, str]:
    """As a provider's worker has it: nothing of ours, no secret, no proxy, no hub; GPUs unless the CPU is meant."""
    own = {
        "PATH": os.defpath, "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
    }  # fmt: skip
    if device == CPU:
        return own | {"CUDA_VISIBLE_DEVICES": ""}
    kept = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
    return own | {name: os.environ[name] for name in kept if name in os.environ}
