"""One started worker and what it is asked for. Rule: a worker that dies, lies or falls silent is broken for good.

Whoever owns a broken one kills it. A failure that the worker itself reports ends that attempt alone and leaves the
worker fit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from gpufair.protocol.frames import (
    MODEL,
    VERSION,
    Hello,
    Input,
    Load,
    LoadFailed,
    Measure,
    Ready,
    Replay,
    Run,
    RuntimeProfile,
    ToWorker,
)
from gpufair.protocol.limits import OUTPUT_CHUNK
from gpufair.provider.workers.attempt import Attempt
from gpufair.provider.workers.lanes import Lane
from gpufair.provider.workers.line import Line
from gpufair.provider.workers.outcome import Answer, Event, Failure, WorkerFailedError
from gpufair.provider.workers.question import Question
from gpufair.provider.workers.runtime import Variant, Worker, WorkerSpec
from gpufair.provider.workers.times import Times

T = TypeVar("T")

FORGETTING = (Failure.OUT_OF_MEMORY, Failure.MODEL_MISSING)
"""Failures after which nobody knows what the worker holds."""


class WarmWorker:
    """A worker that may have models in memory. It may be asked for several things at once."""

    def __init__(self, worker: Worker, spec: WorkerSpec, times: Times) -> None:
        self.worker, self._spec, self._times = worker, spec, times
        self._line = Line(worker, spec, times)
        self._loading = asyncio.Lock()
        self.profile: RuntimeProfile | None = None
        self.models: list[bytes] = []
        """Models in memory, the one asked for last at the end."""

    @property
    def fit(self) -> bool:
        """Whether it can be given something to do."""
        return self.worker.alive and self._line.broken is None

    @property
    def ran_on(self) -> RuntimeProfile:
        """The runtime profile that it stated. Only a worker that was greeted has one."""
        if self.profile is None:
            raise self._line.fail(Failure.START, "it has not said what it runs on")
        return self.profile

    async def greet(self, nonce: bytes) -> None:
        """Say Hello and check Ready: the version, the nonce, and that the device asked for is the one it sees."""
        line, spec, wants_gpu = self._line, self._spec, self._spec.gpu is not None
        device = "cuda" if wants_gpu else "auto" if spec.variant is Variant.NULL else "cpu"
        await line.say(Hello(VERSION, nonce, spec.threads, device, spec.dtype, spec.compile, spec.weights_bytes))
        ready = await line.first_word()
        if not isinstance(ready, Ready) or ready.nonce != nonce:
            raise line.lie("it did not answer Hello with its Ready")
        if ready.protocol != VERSION:
            wrong = f"it speaks version {ready.protocol} of the worker protocol, not {VERSION}"
            raise line.fail(Failure.START, wrong, again=False)
        kind = ready.profile.device_kind
        if wants_gpu and kind != "cuda":
            wrong = f"a GPU was asked for and the worker sees {kind or 'none'}"
            raise line.fail(Failure.GPU_MISSING, wrong, again=False)
        if not wants_gpu and kind == "cuda":
            raise line.lie("it states a GPU that it was not given")
        self.profile = ready.profile
        line.listen()

    async def load(self, digest: bytes, folder: Path, kind: str = MODEL) -> int:
        """Have a model or an adapter in memory; the milliseconds it took, 0 if it was there."""
        # Whoever leaves in the middle must not leave an answer behind that nobody has asked for.
        return await asyncio.shield(self._line.chore(self._load(digest, folder, kind)))

    async def run(
        self, run: Run, inputs: Sequence[bytes], before: Sequence[bytes], cancel: asyncio.Event | None
    ) -> AsyncGenerator[Event, None]:
        """The attempt's events as they come. `before` are the leaves of steps done elsewhere, see `Attempt`."""
        lane: Lane[Event] = self._line.open(run.attempt, Attempt(run, self.ran_on, before), self._times.silence_ms)
        async with contextlib.aclosing(self._attend(lane, run, run.attempt, inputs, cancel)) as events:
            async for event in events:
                yield event

    async def ask(self, question: Replay | Measure, inputs: Sequence[bytes]) -> Answer:
        """The answer to a question."""
        attempt = question.run.attempt
        lane: Lane[Answer] = self._line.open(attempt, Question(question), self._times.answer_ms)
        async with contextlib.aclosing(self._attend(lane, question, attempt, inputs, None)) as answers:
            async for answer in answers:
                return answer
        raise self._line.lie("it did not answer")

    async def settle(self, attempt: bytes) -> None:
        """Wait until an attempt that its caller has left is over, or the worker broken."""
        if (lane := self._line.lanes.get(attempt)) is not None:
            await lane.over.wait()

    def attends(self, attempt: bytes) -> bool:
        """Whether an attempt is not over."""
        return attempt in self._line.lanes

    async def kill(self) -> None:
        """End it and all that it started."""
        await self._line.close()

    async def _load(self, digest: bytes, folder: Path, kind: str) -> int:
        async with self._loading:
            if kind == MODEL and self.models[-1:] == [digest]:
                return 0
            answer = await self._line.asked_to_load(Load(digest, self.worker.model_path(folder), kind))
            if answer.digest != digest:
                raise self._line.lie("it did not answer Load")
            if isinstance(answer, LoadFailed):
                self.models = []
                raise WorkerFailedError(Failure(answer.code), answer.message, self.worker.log_tail)
            if kind == MODEL:
                self.models = [*(held for held in answer.held if held != digest), digest]
            return answer.load_ms

    async def _attend(
        self, lane: Lane[T], order: ToWorker, attempt: bytes, inputs: Sequence[bytes], cancel: asyncio.Event | None
    ) -> AsyncGenerator[T, None]:
        """Give the worker an order and what it begins from; what is said of it."""
        watcher = asyncio.create_task(self._obey(cancel, attempt, lane)) if cancel is not None else None
        try:
            for frame in (*_pieces(attempt, inputs), order):
                await self._line.say(frame)
            while (event := await lane.next()) is not None:
                yield event
        except WorkerFailedError as failure:
            failure.log = failure.log or self.worker.log_tail
            if failure.code in FORGETTING:
                self.models = []
            raise
        finally:
            if watcher is not None:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher
            if not lane.over.is_set():
                self._line.leave(attempt, lane)

    async def _obey(self, cancel: asyncio.Event, attempt: bytes, lane: Lane[T]) -> None:
        await cancel.wait()
        await self._line.stop(attempt, lane)


def _pieces(attempt: bytes, inputs: Sequence[bytes]) -> Iterator[Input]:
    for index, data in enumerate(inputs):
        for offset in range(0, len(data), OUTPUT_CHUNK):
            yield Input(attempt, index, offset, len(data), data[offset : offset + OUTPUT_CHUNK])
