"""Real pictures behind the frames. Rule: running out of memory costs an attempt, never the worker."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from gpufair.protocol.frames import FailCode, Hello, Load, Run
from gpufair.protocol.limits import WARM_MODELS_MAX
from gpufair.provider.inference import device, weights
from gpufair.provider.inference.batcher import Batcher
from gpufair.provider.inference.engine import Ended, RefusedError, Tell
from gpufair.provider.inference.request import refuse_bad, refuse_precision


class TorchEngine:
    """Diffusers pipelines, the most recently used few of them kept in memory."""

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
        self.memory_bytes = device.memory_bytes(self._device)
        self._warm: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self._batcher = Batcher(self._device)

    def load(self, load: Load) -> int:
        """Check and load the model, dropping the longest unused one of too many, or all if memory is short."""
        while len(self._warm) >= WARM_MODELS_MAX:
            self._warm.popitem(last=False)
        try:
            with _memory_told(), torch.no_grad():
                pipeline, size = weights.load(Path(load.path), load.digest, self._device, self._dtype)
            if self._compiles:
                device.compiled(pipeline.unet)
            self._warm[load.digest] = pipeline, size
        except RefusedError as err:
            if err.code is not FailCode.OUT_OF_MEMORY or not self._warm:
                raise
            self._warm.clear()
            self._free()
            return self.load(load)
        return self._warm[load.digest][1]

    def holds(self, digest: bytes) -> int | None:
        """The bytes of the model's weights if it is in memory; being asked for counts as being used."""
        if digest not in self._warm:
            return None
        self._warm.move_to_end(digest)
        return self._warm[digest][1]

    @property
    def is_busy(self) -> bool:
        """Whether attempts are under way."""
        return self._batcher.is_busy

    def admit(self, run: Run, tell: Tell, cancelled: Callable[[], bool]) -> None:
        """Take an attempt up beside those under way."""
        refuse_bad(run)
        refuse_precision(run, is_half=self._dtype is not torch.float32)
        if run.model not in self._warm:
            raise RefusedError(FailCode.MODEL_MISSING, f"the model {run.model.hex()} is not loaded")
        self._warm.move_to_end(run.model)
        with _memory_told(), torch.no_grad():
            self._batcher.admit(self._warm[run.model][0], run, tell, cancelled)

    def advance(self) -> list[Ended]:
        """One step of the oldest attempt, and of those that share its batch."""
        with torch.no_grad():
            ended = [(attempt, _told(err)) for attempt, err in self._batcher.advance()]
        if any(isinstance(err, RefusedError) and err.code is FailCode.OUT_OF_MEMORY for _, err in ended):
            self._free()
        return ended

    def _free(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


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
