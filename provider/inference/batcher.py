"""Whose turn it is. Rule: the attempt that came first goes on; who came later rides along where a batch has room.

So nobody starves, however many join: each turn takes the oldest attempt a step further, and with it every other that
may share a call of the denoiser. Pictures whose steps are done come before any further step, those that are done
together in one call of the decoder. What goes wrong for one attempt ends that one alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from PIL import Image

from gpufair.protocol import limits, trace
from gpufair.protocol.frames import FailCode, OutputChunk, OutputEnd, Preview, Run, State, Step
from gpufair.provider.inference import device, families, png, rows
from gpufair.provider.inference.adapters import Patch
from gpufair.provider.inference.engine import Ended, RefusedError, Tell
from gpufair.provider.inference.families import Maker
from gpufair.provider.inference.request import may_share, preview_due
from gpufair.provider.inference.rows import Row
from gpufair.provider.inference.words import Words


@dataclass
class Work:
    """An attempt under way: the picture that it is at, and what it has told of it."""

    run: Run
    inputs: Sequence[bytes]
    tell: Tell
    cancelled: Callable[[], bool]
    pipeline: Any
    maker: Maker
    words: torch.Tensor
    row: Row
    shares: bool
    patch: Patch
    leaves: list[bytes] = field(default_factory=list)

    @property
    def picture(self) -> int:
        """The picture that is being made."""
        return self.row.picture

    def begin(self, picture: int, where: torch.device) -> None:
        """The next picture, from its start on."""
        with self.patch:
            self.row = self.maker.begin(self.pipeline, self.run, picture, self.words, where, self.inputs)
        self.open()

    def open(self) -> None:
        """Tell step 0 of a picture that has just begun; of one that is taken up again, nothing: it was told."""
        rows.resume(self.row, self.inputs)
        self.leaves = []
        if self.row.step:
            self.leaves.append(self.row.leaf)
        else:
            self.tell_step()

    def tell_step(self) -> None:
        """Tell the leaf of the step that is done, after the state behind it where that was asked for."""
        attempt, step, state = self.run.attempt, self.row.step, self.row.state
        if self.run.trace:
            for offset in range(0, len(state), limits.OUTPUT_CHUNK):
                piece = state[offset : offset + limits.OUTPUT_CHUNK]
                self.tell(State(attempt, self.picture, step, offset, len(state), piece))
        self.leaves.append(trace.leaf(step, state))
        self.tell(Step(attempt, self.picture, step, self.leaves[-1]))


class Batcher:
    """The attempts of one worker, taken further a step at a time. To be used under `torch.no_grad`.

    `give_way` frees memory that nothing under way needs, and says whether there was any.
    """

    def __init__(
        self, where: torch.device, *, in_powers: bool = False, give_way: Callable[[], bool] = lambda: False
    ) -> None:
        self._device = where
        self._works: dict[bytes, Work] = {}
        self._words = Words(where)
        self._widest = limits.WORKER_BATCH_MAX
        self._give_way = give_way
        self._in_powers = in_powers
        """Whether only 1, 2, 4 or 8 go together: a compiled denoiser takes minutes for a number that is new to it."""

    @property
    def is_busy(self) -> bool:
        """Whether attempts are under way."""
        return bool(self._works)

    def admit(
        self, pipeline: Any, patch: Patch, run: Run, inputs: Sequence[bytes], tell: Tell, cancelled: Callable[[], bool]
    ) -> None:
        """Take an attempt up, and tell step 0 of its first picture. `RefusedError` for one that can't be."""
        if run.attempt in self._works:
            raise RefusedError(FailCode.BAD_REQUEST, "this attempt is under way already")
        maker = families.of(pipeline)
        with patch:
            words = maker.read(self._words, pipeline, run, patch.reading)
            row = maker.begin(pipeline, run, run.first_picture, words, self._device, inputs)
        work = Work(run, inputs, tell, cancelled, pipeline, maker, words, row, may_share(run), patch)
        work.open()
        self._works[run.attempt] = work

    def advance(self) -> list[Ended]:
        """The pictures that are done, or one step of the oldest attempt and its company; the attempts over by now."""
        ended = self._sweep()
        turn = self._turn()
        if not turn:
            return ended
        try:
            with turn[0].patch:
                do = self._decoded(turn) if turn[0].row.is_done else self._stepped(turn)
        except Exception as err:
            if len(turn) > 1:
                self._part(turn, err)
            elif not self._try_again(turn[0], err):
                ended.append(self._end(turn[0], err))
            return ended
        for work, follow in zip(turn, do, strict=True):
            try:
                is_over = follow()
            except Exception as err:
                ended.append(self._end(work, err))
            else:
                ended += [self._end(work, None)] if is_over else []
        return ended

    def _stepped(self, turn: list[Work]) -> list[Callable[[], bool]]:
        """One call of the denoiser, and what then is left to do for each attempt by itself."""
        answers = turn[0].maker.ask(turn[0].pipeline, [work.row for work in turn])
        return [partial(_step, work, *answer) for work, answer in zip(turn, answers, strict=True)]

    def _decoded(self, turn: list[Work]) -> list[Callable[[], bool]]:
        """One call of the decoder, and what then is left to do for each attempt by itself."""
        pictures = turn[0].maker.finish(turn[0].pipeline, [work.row for work in turn])
        return [partial(self._hand_over, work, picture) for work, picture in zip(turn, pictures, strict=True)]

    def _sweep(self) -> list[Ended]:
        """End what was cancelled, whether it is its turn or not; a picture whose steps are all done is finished."""
        going = [work for work in self._works.values() if not work.row.is_done]
        return [self._end(work, _cancelled(work)) for work in going if work.cancelled()]

    def _turn(self) -> list[Work]:
        """The oldest attempt whose steps are done, else the oldest, and whoever may share its call, oldest first."""
        works = list(self._works.values())
        works = [work for work in works if work.row.is_done] or works
        if not works:
            return []
        first, *others = works
        if not first.shares:
            return [first]
        fits = [w for w in others if w.shares and w.pipeline is first.pipeline and w.row.key == first.row.key]
        room = self._widest
        if first.row.is_done:
            room = min(room, max(1, limits.PIXELS_MAX // (first.run.width * first.run.height)))
        together = [first, *fits[: room - 1]]
        return together[: 1 << (len(together).bit_length() - 1)] if self._in_powers else together

    def _part(self, turn: list[Work], err: Exception) -> None:
        """A batch has failed as one: smaller ones from now on if memory was short; else each alone, to see whose."""
        if device.out_of_memory(err):
            self._widest = max(1, len(turn) // 2)
            return
        for work in turn:
            work.shares = False

    def _try_again(self, work: Work, err: Exception) -> bool:
        """Whether what failed for want of memory may succeed in place of something unused; nothing of it was done."""
        return device.out_of_memory(err) and work.maker.IS_OPEN and self._give_way()

    def _hand_over(self, work: Work, picture: Image.Image | None) -> bool:
        """Deliver a picture and begin the attempt's next one; whether the attempt is done with it."""
        if picture is None:
            raise RefusedError(FailCode.INTERNAL, "the model gave numbers that are not finite")
        _deliver(work, png.encode(picture))
        following = work.picture + 1
        if following == work.run.first_picture + work.run.count:
            return True
        work.begin(following, self._device)
        return False

    def _end(self, work: Work, err: Exception | None) -> Ended:
        del self._works[work.run.attempt]
        work.row.close()
        return work.run.attempt, err


def _step(work: Work, *answer: Any) -> bool:
    """One step on the denoiser's answer; whether the attempt ends there, its picture not being finished."""
    run, prediction = work.run, work.maker.step(work.row, *answer)
    work.tell_step()
    if preview_due(run, work.row.step):
        shown = work.maker.glimpse(work.pipeline, work.row, prediction)
        if shown is not None:
            work.tell(Preview(run.attempt, work.picture, work.row.step, png.preview(shown)))
    return work.row.step == run.end_step < run.steps


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
