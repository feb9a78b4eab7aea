"""States: what a leaf commits to is all that is needed to go on, for every task and scheduler, from every step."""

from __future__ import annotations

import hashlib
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gpufair.protocol import trace
from gpufair.protocol.frames import IMAGE, IMAGE_TO_IMAGE, INPAINT, MASK, TEXT_TO_IMAGE, FailCode, InputRef, Run
from gpufair.provider.inference import carried, rows, schedulers, weights
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.tasks import TASKS
from gpufair.provider.inference.words import Words

CPU = torch.device("cpu")
STEPS = 5


@pytest.fixture(scope="module")
def pipeline(demo: Any) -> Any:
    """The demo model, taken for one that was distilled, so that LCM may be asked for too."""
    from diffusers import LCMScheduler

    torch.set_num_threads(1)
    pipeline = weights.load(Path(demo.path), demo.digest, CPU)[0]
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    return pipeline


def png(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


INPUTS = {
    IMAGE: png(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)),
    MASK: png(np.repeat(np.arange(64, dtype=np.uint8)[None] // 32 * 255, 64, 0)),
}


def order(demo: Any, task: str, scheduler: str) -> tuple[Run, list[bytes]]:
    inputs = [INPUTS[kind] for kind in TASKS[task]]
    refs = [InputRef(kind, hashlib.sha256(INPUTS[kind]).digest(), len(INPUTS[kind])) for kind in TASKS[task]]
    skip = 0 if task == TEXT_TO_IMAGE else 3
    return demo.run(task=task, scheduler=scheduler, steps=STEPS, skip=skip, inputs=tuple(refs), seed=8), inputs


def begin(pipeline: Any, run: Run, inputs: list[bytes]) -> rows.Row:
    return rows.begin(pipeline, run, 0, Words(CPU).of(pipeline, run), CPU, inputs)


def rest(pipeline: Any, row: rows.Row) -> list[bytes]:
    """The states of the row from now on."""
    states = [carried.state(row)]
    while not row.is_done:
        rows.advance(pipeline.unet, [row])
        states.append(carried.state(row))
    return states


@pytest.mark.parametrize(("task", "scheduler"), list(itertools.product(TASKS, schedulers.KINDS)))
@torch.no_grad()
def test_from_every_state_on_all_is_as_if_nothing_had_happened(
    pipeline: Any, demo: Any, task: str, scheduler: str
) -> None:
    run, inputs = order(demo, task, scheduler)
    whole = rest(pipeline, begin(pipeline, run, inputs))
    for step in range(STEPS + 1):
        row = begin(pipeline, run, inputs)
        carried.restore(row, step, whole[step])
        assert row.leaf == trace.leaf(step, whole[step])
        assert rest(pipeline, row) == whole[step:]


@pytest.mark.parametrize(
    ("scheduler", "tensors"),
    [("ddim", [1] * 6), ("euler", [1] * 6), ("lcm", [1] * 6), ("dpmpp_2m", [1] + [2] * 5), ("unipc", [1, 3] + [4] * 4)],
)
@torch.no_grad()
def test_a_state_holds_what_the_next_step_reads_and_no_more(
    pipeline: Any, demo: Any, scheduler: str, tensors: list[int]
) -> None:
    run, inputs = order(demo, TEXT_TO_IMAGE, scheduler)
    states = rest(pipeline, begin(pipeline, run, inputs))
    assert [len(state) // (4 * 16 * 16 * 4) for state in states] == tensors


@torch.no_grad()
def test_bytes_that_can_be_no_state_are_refused_with_their_number(pipeline: Any, demo: Any) -> None:
    run, inputs = order(demo, TEXT_TO_IMAGE, "unipc")
    state = rest(pipeline, begin(pipeline, run, inputs))[2]
    spoilt = state[:8] + np.array([np.nan], "<f4").tobytes() + state[12:]
    for step, data, said in (
        (2, state[:-4], str(len(state) - 4)),
        (1, state, str(len(state))),
        (2, b"", "0 bytes"),
        (2, spoilt, "not finite"),
        (STEPS + 1, state, f"step {STEPS + 1} of {STEPS}"),
    ):
        with pytest.raises(RefusedError, match=said) as caught:
            carried.restore(begin(pipeline, run, inputs), step, data)
        assert caught.value.code is FailCode.CHECKPOINT_WRONG


def test_every_scheduler_that_can_be_asked_for_is_known_here() -> None:
    assert {kind.made for kind in schedulers.KINDS.values()} == set(carried.MEMORIES)
    assert {IMAGE_TO_IMAGE, INPAINT} < set(TASKS)
