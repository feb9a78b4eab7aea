"""Whose turn it is. Rule: the attempt that came first goes on; who came later rides along where a batch has room.

So nobody starves, however many join: each turn takes the oldest attempt a step further, and with it every other that
may share a call of the denoiser. What goes wrong for one attempt ends that one alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from gpufair.protocol import limits, trace
from gpufair.protocol.frames import FailCode, OutputChunk, OutputEnd, Preview, Run, Step
from gpufair.provider.inference import device, diffusion, png, rows
from gpufair.provider.inference.engine import Ended, RefusedError, Tell
from gpufair.provider.inference.request import may_share, preview_due
from gpufair.provider.inference.rows import Prediction, Row
from gpufair.provider.inference.words import Words


@dataclass
class Work:
    """An attempt under way: the picture that it is at, and what it has told of it."""

    run: Run
    tell: Tell
    cancelled: Callable[[], bool]
    pipeline: Any
    words: torch.Tensor
    row: Row
    shares: bool
    leaves: list[bytes] = field(default_factory=list)

    @property
    def picture(self) -> int:
        """The picture that is being made."""
        return self.row.picture

    def begin(self, picture: int, where: torch.device) -> None:
        """The next picture, from its noise on."""
        self.row, self.leaves = rows.begin(self.pipeline, self.run, picture, self.words, where), []
        self.tell_step()

    def tell_step(self) -> None:
        """Tell the leaf of the step that is done."""
        self.leaves.append(self.row.leaf)
        self.tell(Step(self.run.attempt, self.picture, self.row.step, self.leaves[-1]))


class Batcher:
    """The attempts of one worker, taken further a step at a time. To be used under `torch.no_grad`."""

    def __init__(self, where: torch.device) -> None:
        self._device = where
        self._works: dict[bytes, Work] = {}
        self._words = Words(where)
        self._widest = limits.WORKER_BATCH_MAX

    @property
    def is_busy(self) -> bool:
        """Whether attempts are under way."""
        return bool(self._works)

    def admit(self, pipeline: Any, run: Run, tell: Tell, cancelled: Callable[[], bool]) -> None:
        """Take an attempt up, and tell its first picture's noise as step 0. `RefusedError` for one that can't be."""
        if run.attempt in self._works:
            raise RefusedError(FailCode.BAD_REQUEST, "this attempt is under way already")
        words = self._words.of(pipeline, run)
        row = rows.begin(pipeline, run, run.first_picture, words, self._device)
        work = Work(run, tell, cancelled, pipeline, words, row, may_share(run))
        work.tell_step()
        self._works[run.attempt] = work

    def advance(self) -> list[Ended]:
        """One step of the oldest attempt and of those that ride along; the attempts that are over by now."""
        ended = self._sweep()
        turn = self._turn()
        if not turn:
            return ended
        try:
            answers = rows.ask(turn[0].pipeline.unet, [work.row for work in turn])
        except Exception as err:
            if len(turn) == 1:
                return [*ended, self._end(turn[0], err)]
            self._part(turn, err)
            return ended
        for work, answer in zip(turn, answers, strict=True):
            try:
                is_over = self._step(work, rows.step(work.row, *answer))
            except Exception as err:
                ended.append(self._end(work, err))
            else:
                ended += [self._end(work, None)] if is_over else []
        return ended

    def _sweep(self) -> list[Ended]:
        """End what was cancelled, whether it is its turn or not."""
        return [self._end(work, _cancelled(work)) for work in list(self._works.values()) if work.cancelled()]

    def _turn(self) -> list[Work]:
        """The oldest attempt, and whoever may share its call, oldest first."""
        if not self._works:
            return []
        first, *others = self._works.values()
        if not first.shares:
            return [first]
        fits = [w for w in others if w.shares and w.pipeline is first.pipeline and w.row.key == first.row.key]
        return [first, *fits[: self._widest - 1]]

    def _part(self, turn: list[Work], err: Exception) -> None:
        """A batch has failed as one: smaller ones from now on if memory was short; else each alone, to see whose."""
        if device.out_of_memory(err):
            self._widest = max(1, len(turn) // 2)
            return
        for work in turn:
            work.shares = False

    def _step(self, work: Work, prediction: Prediction) -> bool:
        """What a step leads to; whether the attempt is done with it."""
        run, row = work.run, work.row
        work.tell_step()
        if preview_due(run, row.step):
            shown = png.preview(diffusion.glimpse(work.pipeline, row, prediction))
            work.tell(Preview(run.attempt, work.picture, row.step, shown))
        if not row.is_done:
            return False
        _deliver(work, png.encode(diffusion.finish(work.pipeline, row)))
        following = work.picture + 1
        if following == run.first_picture + run.count:
            return True
        work.begin(following, self._device)
        return False

    def _end(self, work: Work, err: Exception | None) -> Ended:
        del self._works[work.run.attempt]
        return work.run.attempt, err


def _cancelled(work: Work) -> RefusedError:
    return RefusedError(FailCode.CANCELLED, f"cancelled at picture {work.picture}, after step {work.row.step}")


def _deliver(work: Work, data: bytes) -> None:
    if len(data) > limits.OUTPUT_MAX:
        raise RefusedError(FailCode.INTERNAL, f"the picture has {len(data)} bytes, the limit is {limits.OUTPUT_MAX}")
    attempt, picture, leaves = work.run.attempt, work.picture, work.leaves
    for offset in range(0, len(data), limits.OUTPUT_CHUNK):
        piece = data[offset : offset + limits.OUTPUT_CHUNK]
        work.tell(OutputChunk(attempt, picture, offset, len(data), piece))
    digest = hashlib.sha256(data).digest()
    work.tell(OutputEnd(attempt, picture, digest, len(data), trace.root(leaves), len(leaves)))
