"""Real pictures behind the frames. Rule: running out of memory costs an attempt, never the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from gpufair.protocol.frames import ADAPTER, FailCode, Hello, Load, Measure, Measured, Replay, Replayed, Run
from gpufair.protocol.limits import HELD_MODELS_MAX
from gpufair.provider.inference import device, families, measuring, memory, replay, weights
from gpufair.provider.inference.adapters import Adapters
from gpufair.provider.inference.batcher import Batcher
from gpufair.provider.inference.engine import Ended, RefusedError, Tell
from gpufair.provider.inference.request import refuse_bad, refuse_precision
from gpufair.provider.inference.residency import Keep, Residency, Tier

DENOISERS = frozenset({"unet", "transformer"})
"""What pipelines call the part that does the steps, and that is worth compiling."""


class TorchEngine:
    """Diffusers pipelines, as many of them kept in memory as their weights' budget allows."""

    def __init__(self, hello: Hello) -> None:
        for library in (diffusers, transformers):
            library.logging.set_verbosity_error()  # their warnings quote prompts
            library.logging.disable_progress_bar()
        self._device = device.choose(hello.device)
        self._dtype = device.arithmetic(hello.dtype)
        device.fix(hello.threads)
        self._compiles = hello.compile
        if self._compiles:
            device.can_compile()
        self.profile = device.profile(self._device, hello)
        self.memory_bytes = memory.memory_bytes(self._device)
        self._adapters = Adapters()
        self._batcher = Batcher(self._device, in_powers=hello.compile, give_way=self._give_way)
        self._under_way: dict[bytes, bytes] = {}
        """Attempts and their models."""
        room, spare = memory.weights_room(self._device, hello.weights_bytes)
        self._models = Residency(room, spare, self._move, in_use=self._under_way.values)

    @property
    def held(self) -> tuple[bytes, ...]:
        """The models in memory, the one used last at the end."""
        return self._models.held[-HELD_MODELS_MAX:]

    def load(self, load: Load) -> int:
        """Check and load a model or an adapter; what was unused for longest makes room for a model."""
        if load.kind == ADAPTER:
            return self._adapters.load(Path(load.path), load.digest)

        def make(keep: Keep) -> Any:
            pipeline, _ = weights.load(Path(load.path), load.digest, self._device, self._dtype, keep)
            if self._compiles:
                for name in DENOISERS & pipeline.components.keys():
                    device.compiled(pipeline.components[name])
                measuring.warm_up(load.digest, pipeline, self._device)
            return pipeline

        while True:
            try:
                with _memory_told(), memory.given_back(), torch.no_grad():
                    self._models.load(load.digest, make)
                return self._models.size(load.digest)
            except RefusedError as err:
                # The budget had room and the device had not: what is held gives way, one by one.
                if err.code is not FailCode.OUT_OF_MEMORY or not self._models.drop():
                    raise
            self._free()

    def holds(self, digest: bytes) -> int | None:
        """The bytes of the model or adapter if it is in memory; being asked for counts as being used."""
        with _memory_told():
            used = self._models.use(digest)
        return self._adapters.holds(digest) if used is None else self._models.size(digest)

    @property
    def is_busy(self) -> bool:
        """Whether attempts are under way."""
        return self._batcher.is_busy

    def admit(self, run: Run, inputs: Sequence[bytes], tell: Tell, cancelled: Callable[[], bool]) -> None:
        """Take an attempt up beside those under way."""
        self._refuse(run)
        with _memory_told(), torch.no_grad():
            pipeline = self._pipeline(run.model)
            patch = self._adapters.patch(pipeline, run)
            self._make_room(pipeline, run)
            self._batcher.admit(pipeline, patch, run, inputs, tell, cancelled)
        self._under_way[run.attempt] = run.model

    def measure(self, order: Measure, inputs: Sequence[bytes]) -> Measured:
        """How fast an attempt is made here, nothing else being under way."""
        self._refuse(order.run)
        with _memory_told(), torch.no_grad():
            pipeline = self._pipeline(order.run.model)
            with_adapters = self._adapters.patch(pipeline, order.run)
            self._make_room(pipeline, order.run)
            return measuring.measure(order, pipeline, with_adapters, inputs, self._device, self._dtype)

    def replay(self, order: Replay, inputs: Sequence[bytes]) -> Replayed:
        """Do a step of somebody's run again, in this engine's own arithmetic whatever theirs was."""
        run = replay.order(order)
        refuse_bad(run)
        with _memory_told(), torch.no_grad():
            pipeline = self._pipeline(run.model)
            if not families.of(pipeline).IS_OPEN:
                kind = type(pipeline).__name__
                raise RefusedError(
                    FailCode.BAD_REQUEST, f"a {kind}'s steps depend on more than is told of them: no replay"
                )
            with self._adapters.patch(pipeline, run):
                return replay.judge(pipeline, order, inputs, self._device)

    def advance(self) -> list[Ended]:
        """One step of the oldest attempt, and of those that share its batch."""
        with torch.no_grad():
            ended = [(attempt, _told(err)) for attempt, err in self._batcher.advance()]
        for attempt, _ in ended:
            self._under_way.pop(attempt, None)
        if any(isinstance(err, RefusedError) and err.code is FailCode.OUT_OF_MEMORY for _, err in ended):
            self._free()
        return ended

    def _refuse(self, run: Run) -> None:
        """`RefusedError` for what no model could serve in this arithmetic."""
        refuse_bad(run)
        refuse_precision(run, is_half=self._dtype is not torch.float32)

    def _make_room(self, pipeline: Any, run: Run) -> None:
        """Have the memory for a picture free, in place of what is unused if need be. `RefusedError` if it can't be.

        It is the memory of the largest moment, which the attempts of one worker have in turn and not together.
        """
        need = memory.picture_bytes(pipeline, run, self._dtype)
        while need > (free := memory.free_bytes(self._device)):
            if not self._give_way(but=run.model):
                what = f"a picture of {run.width} x {run.height} needs {need} bytes, {free} are free"
                raise RefusedError(FailCode.OUT_OF_MEMORY, what)

    def _pipeline(self, model: bytes) -> Any:
        pipeline = self._models.use(model)
        if pipeline is None:
            raise RefusedError(FailCode.MODEL_MISSING, f"the model {model.hex()} is not loaded")
        return pipeline

    def _move(self, module: Any, tier: Tier) -> None:
        memory.move(module, self._device if tier is Tier.DEVICE else torch.device("cpu"))

    def _give_way(self, but: bytes = b"") -> bool:
        """Free what is easiest to have again: changed weights first, then the longest unused model other than `but`."""
        is_less = self._adapters.forget() or self._models.drop(but)
        if is_less:
            self._free()
        return is_less

    def _free(self) -> None:
        self._adapters.forget()
        memory.give_back(self._device)


@contextmanager
def _memory_told() -> Iterator[None]:
    """Turn torch's several ways to run out of memory into one refusal."""
    try:
        yield
    except (RuntimeError, MemoryError) as err:
        if not device.out_of_memory(err):
            raise
        raise _memory_short() from None


def _told(err: Exception | None) -> Exception | None:
    """The same as a refusal, if it is one of torch's several ways to run out of memory."""
    return _memory_short() if err is not None and device.out_of_memory(err) else err


def _memory_short() -> RefusedError:
    return RefusedError(FailCode.OUT_OF_MEMORY, "the device's memory does not suffice for this")
