"""Real pictures behind the frames. Rule: running out of memory costs an attempt, never the worker."""

from __future__ import annotations

import gc
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from PIL import Image

from gpufair.protocol import trace
from gpufair.protocol.frames import FailCode, Hello, Load, OutputChunk, OutputEnd, Preview, Run, Step
from gpufair.protocol.limits import OUTPUT_CHUNK, OUTPUT_MAX, WARM_MODELS_MAX
from gpufair.provider.inference import device, diffusion, png, weights
from gpufair.provider.inference.engine import RefusedError, Tell
from gpufair.provider.inference.request import refuse_bad


class TorchEngine:
    """Diffusers pipelines, the most recently used few of them kept in memory."""

    def __init__(self, hello: Hello) -> None:
        for library in (diffusers, transformers):
            library.logging.set_verbosity_error()  # their warnings quote prompts
            library.logging.disable_progress_bar()
        self._device = device.choose(hello.device)
        device.fix(hello.threads)
        self.profile = device.profile(self._device, hello)
        self.memory_bytes = device.memory_bytes(self._device)
        self._warm: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()

    def load(self, load: Load) -> int:
        """Check and load the model, dropping the longest unused one of too many, or all if memory is short."""
        while len(self._warm) >= WARM_MODELS_MAX:
            self._warm.popitem(last=False)
        try:
            with _memory_told(), torch.no_grad():
                self._warm[load.digest] = weights.load(Path(load.path), load.digest, self._device)
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

    def run(self, run: Run, tell: Tell, cancelled: Callable[[], bool]) -> None:
        """Draw the attempt's pictures one after another."""
        refuse_bad(run)
        if run.model not in self._warm:
            raise RefusedError(FailCode.MODEL_MISSING, f"the model {run.model.hex()} is not loaded")
        self._warm.move_to_end(run.model)
        pipeline, _size = self._warm[run.model]
        try:
            with _memory_told(), torch.no_grad():
                words = diffusion.encode(pipeline, run, self._device)
                for picture in range(run.first_picture, run.first_picture + run.count):
                    self._draw(pipeline, run, picture, words, tell, cancelled)
        except RefusedError as err:
            if err.code is FailCode.OUT_OF_MEMORY:
                self._free()
            raise

    def _draw(
        self, pipeline: Any, run: Run, picture: int, words: torch.Tensor, tell: Tell, cancelled: Callable[[], bool]
    ) -> None:
        leaves: list[bytes] = []

        def seen(step: int, leaf: bytes, shown: Image.Image | None) -> None:
            leaves.append(leaf)
            tell(Step(run.attempt, picture, step, leaf))
            if shown is not None:
                tell(Preview(run.attempt, picture, step, png.preview(shown)))
            if cancelled():
                raise RefusedError(FailCode.CANCELLED, f"cancelled at picture {picture}, after step {step}")

        image = diffusion.draw(pipeline, run, picture, words, self._device, seen)
        _deliver(run, picture, png.encode(image), leaves, tell)

    def _free(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _deliver(run: Run, picture: int, data: bytes, leaves: list[bytes], tell: Tell) -> None:
    if len(data) > OUTPUT_MAX:
        raise RefusedError(FailCode.INTERNAL, f"the picture has {len(data)} bytes, the limit is {OUTPUT_MAX}")
    for offset in range(0, len(data), OUTPUT_CHUNK):
        tell(OutputChunk(run.attempt, picture, offset, len(data), data[offset : offset + OUTPUT_CHUNK]))
    digest = hashlib.sha256(data).digest()
    tell(OutputEnd(run.attempt, picture, digest, len(data), trace.root(leaves), len(leaves)))


@contextmanager
def _memory_told() -> Iterator[None]:
    """Turn torch's several ways to run out of memory into one refusal."""
    try:
        yield
    except (RuntimeError, MemoryError) as err:
        if not device.out_of_memory(err):
            raise
        raise RefusedError(FailCode.OUT_OF_MEMORY, "the device's memory does not suffice for this") from None
