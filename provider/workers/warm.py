"""One started worker and what is said to it. Rule: a worker that dies, lies or falls silent is broken for good.

Whoever owns a broken one kills it. A failure that the worker itself reports leaves it fit for the next attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from gpufair.protocol import limits
from gpufair.protocol.errors import PeerError
from gpufair.protocol.frames import (
    VERSION,
    Cancel,
    FromWorker,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    Ready,
    Run,
    RuntimeProfile,
    ToWorker,
)
from gpufair.provider.workers.attempt import Attempt
from gpufair.provider.workers.outcome import Event, Failure, LieError, WorkerFailedError
from gpufair.provider.workers.runtime import Variant, Worker, WorkerSpec

EXIT_NO_DEVICE = 4
"""The exit status by which a worker says that the device it was told to use isn't there."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long a worker may take to come up or to load a model, and to say the next thing. Milliseconds."""

    start_ms: int = limits.WORKER_START_MS
    silence_ms: int = limits.WORKER_SILENCE_MS


class WarmWorker:
    """A worker that may have models in memory. Does one thing at a time."""

    def __init__(self, worker: Worker, spec: WorkerSpec, times: Times) -> None:
        self.worker, self._spec, self._times = worker, spec, times
        self.profile: RuntimeProfile | None = None
        self.models: list[bytes] = []
        self._profile_digest = b""
        self._broken = False
        self._overdue = False
        self._attempt: Attempt | None = None
        self._attempt_id = b""

    @property
    def fit(self) -> bool:
        """Whether it can be given something to do now."""
        return self.worker.alive and not self._broken and self._attempt is None

    async def greet(self, nonce: bytes) -> None:
        """Say Hello and check Ready: the version, the nonce, and that the device asked for is the one it sees."""
        device = "cuda" if self._spec.gpu else "auto" if self._spec.variant is Variant.NULL else "cpu"
        spec = self._spec
        await self._say(Hello(VERSION, nonce, spec.threads, device, spec.dtype, spec.compile, spec.weights_bytes))
        ready = await self._hear(self._times.start_ms, starting=True)
        if not isinstance(ready, Ready) or ready.nonce != nonce:
            raise self._lie(LieError("it did not answer Hello with its Ready"))
        if ready.protocol != VERSION:
            raise self._fail(Failure.START, f"it speaks version {ready.protocol} of the worker protocol, not {VERSION}")
        kind = ready.profile.device_kind
        if self._spec.gpu and kind != "cuda":
            raise self._fail(Failure.GPU_MISSING, f"a GPU was asked for and the worker sees {kind or 'none'}")
        if not self._spec.gpu and kind == "cuda":
            raise self._lie(LieError("it states a GPU that it was not given"))
        self.profile, self._profile_digest = ready.profile, ready.profile.digest()

    async def load(self, digest: bytes, folder: Path) -> int:
        """Have the model in memory; the milliseconds it took, 0 if it was there."""
        if self.models and self.models[-1] == digest:
            return 0
        await self._say(Load(digest, self.worker.model_path(folder)))
        answer = await self._hear(self._times.start_ms)
        if not isinstance(answer, Loaded | LoadFailed) or answer.digest != digest:
            raise self._lie(LieError("it did not answer Load"))
        if isinstance(answer, LoadFailed):
            self.models = []
            raise WorkerFailedError(Failure(answer.code), answer.message, self.worker.log_tail)
        # What it holds is its own to say; Load is sent again for all but the last one used.
        self.models = [*(held for held in answer.held if held != digest), digest]
        return answer.load_ms

    async def run(self, run: Run, cancel: asyncio.Event | None) -> AsyncGenerator[Event, None]:
        """The attempt's events as they come. The worker gets credit only for frames that were asked for."""
        self._attempt, self._attempt_id = Attempt(run, self._profile_digest), run.attempt
        watcher = asyncio.create_task(self._obey(cancel, run.attempt)) if cancel is not None else None
        try:
            await self._say(run)
            while (event := await self._next(self._attempt)) is not None:
                yield event
            failure, self._attempt = self._attempt.failure, None
            if failure is not None:
                if failure.code in (Failure.OUT_OF_MEMORY, Failure.MODEL_MISSING):
                    self.models = []
                failure.log = self.worker.log_tail
                raise failure
        finally:
            if watcher is not None:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher

    async def settle(self) -> None:
        """End an attempt that its caller has left: Cancel it and hear the worker out. Then it is fit, or broken."""
        attempt = self._attempt
        if attempt is None or self._broken:
            return
        try:
            async with asyncio.timeout(self._times.silence_ms / limits.SECOND):
                await self._say(Cancel(self._attempt_id))
                while await self._next(attempt) is not None:
                    pass
            self._attempt = None
        except (WorkerFailedError, TimeoutError):
            self._broken = True

    async def kill(self) -> None:
        """End it and all that it started."""
        self._broken = True
        await self.worker.kill()

    async def _next(self, attempt: Attempt) -> Event | None:
        """The attempt's next event; None when it has ended."""
        while not attempt.finished:
            frame = await self._hear(self._times.silence_ms)
            try:
                event = attempt.take(frame)
            except LieError as lie:
                raise self._lie(lie) from lie
            if event is not None:
                return event
        return None

    async def _obey(self, cancel: asyncio.Event, attempt: bytes) -> None:
        await cancel.wait()
        with contextlib.suppress(WorkerFailedError):
            await self._say(Cancel(attempt))
        await asyncio.sleep(self._times.silence_ms / limits.SECOND)
        self._overdue = True
        await self.kill()

    async def _say(self, frame: ToWorker) -> None:
        try:
            async with asyncio.timeout(self._times.silence_ms / limits.SECOND):
                await self.worker.send(frame)
        except PeerError:
            # What went wrong is told by reading: the worker's last frames, or how it ended.
            return
        except TimeoutError as err:
            raise self._fail(Failure.SILENT, "the worker doesn't read") from err

    async def _hear(self, patience_ms: int, *, starting: bool = False) -> FromWorker:
        try:
            async with asyncio.timeout(patience_ms / limits.SECOND):
                frame = await self.worker.receive()
        except TimeoutError as err:
            raise self._fail(Failure.SILENT, f"the worker was silent for {patience_ms / limits.SECOND:g} s") from err
        except PeerError as err:
            if self._overdue:
                raise self._fail(Failure.SILENT, "the worker did not stop when it was told to") from err
            raise self._lie(LieError(err.what)) from err
        if frame is not None:
            return frame
        raise self._ended(starting=starting)

    def _ended(self, *, starting: bool) -> WorkerFailedError:
        end = self.worker.exit
        if self._overdue:
            return self._fail(Failure.SILENT, "the worker did not stop when it was told to")
        if end is not None and end.out_of_memory:
            return self._fail(Failure.OUT_OF_MEMORY, f"the worker needed more than {self._spec.memory_bytes} bytes")
        status = None if end is None else end.status
        if starting and self._spec.gpu and status == EXIT_NO_DEVICE:
            return self._fail(Failure.GPU_MISSING, "a GPU was asked for and the worker sees none")
        return self._fail(Failure.START if starting else Failure.DIED, f"the worker ended with status {status}")

    def _lie(self, lie: LieError) -> WorkerFailedError:
        return self._fail(Failure.LIED, f"the worker broke the protocol: {lie}")

    def _fail(self, code: Failure, message: str) -> WorkerFailedError:
        self._broken = True
        return WorkerFailedError(code, message, self.worker.log_tail)
