"""Pictures drawn in stretches: to a step, and on from its state, are the bits of those that are drawn in one go."""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import replace
from typing import Any

import pytest
from conftest import NULL, named
from replays import INPUTS

from gpufair.protocol import trace
from gpufair.protocol.frames import STATE, TEXT_TO_IMAGE, Cancel, Done, FailCode, InputRef, OutputEnd, Run, State, Step
from gpufair.provider.inference import schedulers
from gpufair.provider.inference.tasks import TASKS

STEPS = 3
CASES = [
    *itertools.product([TEXT_TO_IMAGE], [name for name in schedulers.KINDS if name != "lcm"]),
    *itertools.product([task for task in TASKS if task != TEXT_TO_IMAGE], ["unipc"]),
]


def order(demo: Any, task: str, scheduler: str) -> tuple[Run, list[bytes]]:
    """An order with the inputs that its task needs, unguided: half of the work, and the same to show."""
    inputs = [INPUTS[kind] for kind in TASKS[task]]
    refs = tuple(InputRef(kind, hashlib.sha256(INPUTS[kind]).digest(), len(INPUTS[kind])) for kind in TASKS[task])
    skip = 0 if task == TEXT_TO_IMAGE else 2
    run = demo.run(task=task, scheduler=scheduler, steps=STEPS, skip=skip, inputs=refs, guidance_milli=1000, trace=True)
    return run, inputs


def on_from(run: Run, inputs: list[bytes], state: bytes, step: int, **changes: Any) -> tuple[Run, list[bytes]]:
    """The same order after so many steps, as another attempt."""
    refs = (*run.inputs, named(STATE, state, step))
    return replace(run, attempt=os.urandom(16), first_step=step, inputs=refs, **changes), [*inputs, state]


def stretch(worker: Any, run: Run, inputs: list[bytes]) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """States and leaves, by step, of a run that makes no picture."""
    got = worker.run(run, *inputs)
    assert isinstance(got[-1], Done), got[-1]
    assert not any(isinstance(frame, OutputEnd) for frame in got)
    states: dict[int, bytes] = {}
    for frame in got:
        if isinstance(frame, State):
            states[frame.step] = states.get(frame.step, b"") + frame.data
    leaves = {frame.step: frame.leaf for frame in got if isinstance(frame, Step)}
    assert leaves == {step: trace.leaf(step, state) for step, state in states.items()}
    return states, leaves


@pytest.mark.parametrize(("task", "scheduler"), CASES)
def test_in_stretches_it_is_the_same_picture(warm: Any, demo: Any, pictures: Any, task: str, scheduler: str) -> None:
    run, inputs = order(demo, task, scheduler)
    whole = pictures(warm.run(run, *inputs))
    states, leaves = stretch(warm, replace(run, attempt=os.urandom(16), last_step=1), inputs)
    second, more = stretch(warm, *on_from(run, inputs, states[1], 1, last_step=2))
    rest, last = on_from(run, inputs, second[2], 2)
    told = pictures(warm.run(rest, *last))
    assert [*leaves.values(), *more.values(), *told.leaves[0]] == whole.leaves[0]
    assert told.png == whole.png
    assert told.ends[0].trace_root == trace.root(whole.leaves[0][2:])


def test_the_null_worker_draws_in_stretches_too(start: Any, pictures: Any) -> None:
    worker = start(NULL)
    run = Run(b"a" * 16, b"m" * 32, "a fox", 7, 20, 3000, 64, 64, trace=True)
    whole = pictures(worker.run(run))
    states, leaves = stretch(worker, replace(run, attempt=b"b" * 16, last_step=7), [])
    rest, last = on_from(run, [], states[7], 7)
    told = pictures(worker.run(rest, *last))
    assert [*leaves.values(), *told.leaves[0]] == whole.leaves[0]
    assert len({*whole.leaves[0]}) == 21, "each step has a state of its own"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"last_step": 2, "count": 2}, "one picture, not of 2"),
        ({"last_step": 2, "first_step": 2}, "ends after step 2, and 2 steps are done"),
        ({"last_step": 1, "first_step": 2}, "ends after step 1, and 2 steps are done"),
    ],
)
def test_a_stretch_that_can_not_be_is_refused(start: Any, changes: dict[str, Any], said: str) -> None:
    run = Run(b"a" * 16, b"m" * 32, "a fox", 7, 4, 3000, 64, 64, **changes)
    if run.first_step:
        run = replace(run, inputs=(named(STATE, b"x" * 32, run.first_step),))
    failed = start(NULL).run(run, *([b"x" * 32] if run.first_step else []))[-1]
    assert (failed.code, said in failed.message) == (FailCode.BAD_REQUEST, True), failed


def test_a_last_step_beyond_the_last_is_the_whole_picture(start: Any, pictures: Any) -> None:
    run = Run(b"a" * 16, b"m" * 32, "a fox", 7, 4, 3000, 64, 64, count=2, last_step=4)
    assert sorted(pictures(start(NULL).run(run)).png) == [0, 1]


def test_who_cancels_after_the_last_step_gets_the_picture(warm: Any, demo: Any, pictures: Any) -> None:
    run, _ = order(demo, TEXT_TO_IMAGE, "ddim")
    warm.send(run)
    before = []
    while not (before and isinstance(before[-1], Step) and before[-1].step == STEPS):
        before += warm.until(Step)
    warm.send(Cancel(run.attempt))
    got = [*before, *warm.until(Done)]
    assert pictures(got).png.keys() == {0}, "all of it was done but to decode it"
