"""What a task begins from: just what it needs, of exactly the job's size, as far as a PNG's header tells."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import inputs, limits, wire
from gpufair.protocol.messages import (
    Input,
    InputKind,
    Precision,
    Reason,
    ReasonCode,
    Scheduler,
    Spec,
    Task,
)

JOB = Spec(Task.INPAINT, bytes(32), Scheduler.DDIM, Precision.EXACT, 64, 48, 12, 1, False, (), 8)


def png(width: int = 64, height: int = 48, *, bits: int = 8, colours: int = 2) -> bytes:
    """The beginning of a PNG, which is all that is looked at."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


IMAGE, MASK = Input(InputKind.IMAGE, png()), Input(InputKind.MASK, png(colours=0))


@pytest.mark.parametrize(
    ("task", "good"),
    [(Task.TEXT_TO_IMAGE, ()), (Task.IMAGE_TO_IMAGE, (IMAGE,)), (Task.INPAINT, (IMAGE, MASK))],
)
def test_each_task_takes_its_own_inputs_and_no_others(task: Task, good: tuple[Input, ...]) -> None:
    spec = replace(JOB, task=task)
    assert inputs.objection(spec, good) is None
    for other in ((), (IMAGE,), (MASK,), (IMAGE, MASK), (MASK, IMAGE), (IMAGE, IMAGE)):
        if other != good:
            reason = inputs.objection(spec, other)
            assert reason is not None
            assert reason.code is ReasonCode.INPUT_WRONG
            assert task.name.lower() in reason.detail


@pytest.mark.parametrize(
    ("bad", "wanted", "limit"),
    [
        (Input(InputKind.IMAGE, png(width=72)), 72, 64),
        (Input(InputKind.IMAGE, png(height=2**31)), 2**31, 48),
        (Input(InputKind.IMAGE, png(colours=6)), 0, 0),
        (Input(InputKind.IMAGE, png(colours=3)), 0, 0),
        (Input(InputKind.IMAGE, png(bits=16)), 0, 0),
        (Input(InputKind.IMAGE, b"\xff\xd8\xff" + bytes(100)), 0, 0),
        (Input(InputKind.IMAGE, png()[:20]), 0, 0),
        (Input(InputKind.IMAGE, png() + bytes(limits.INPUTS_BYTES_MAX)), 2**24, limits.INPUTS_BYTES_MAX),
    ],
)
def test_what_is_no_picture_of_the_jobs_size(bad: Input, wanted: int, limit: int) -> None:
    reason = inputs.objection(JOB, (bad, MASK))
    assert reason is not None
    assert reason.code is ReasonCode.INPUT_WRONG
    assert reason.limit == limit
    assert reason.wanted == wanted or reason.wanted > reason.limit > 64


def test_a_mask_is_one_grey_channel() -> None:
    reason = inputs.objection(JOB, (IMAGE, Input(InputKind.MASK, png())))
    assert reason is not None
    assert "grey" in reason.detail


@given(st.sampled_from(Task), st.lists(st.builds(Input, st.sampled_from(InputKind), st.binary(min_size=1)), max_size=2))
def test_whatever_comes_gets_an_answer_that_can_be_sent(task: Task, given_inputs: list[Input]) -> None:
    reason = inputs.objection(replace(JOB, task=task), given_inputs)
    assert reason is None or wire.decode(Reason, wire.encode(reason)) == reason


def test_only_a_job_with_inputs_has_a_large_body() -> None:
    assert inputs.body_max(replace(JOB, done=1)) == limits.SEALED_MAX
    assert limits.INPUTS_BYTES_MAX < inputs.body_max(JOB) < limits.SEALED_MAX
    assert inputs.body_max(replace(JOB, task=Task.TEXT_TO_IMAGE)) < 32 * limits.KIB


def test_who_goes_on_from_a_checkpoint_brings_its_state_and_one_that_can_be() -> None:
    spec, most = replace(JOB, done=5), 64 * 64 * 48
    for size, code in (
        (most, None),
        (4, None),
        (most + 4, ReasonCode.CHECKPOINT_WRONG),
        (7, ReasonCode.CHECKPOINT_WRONG),
    ):
        reason = inputs.objection(spec, (IMAGE, MASK, Input(InputKind.STATE, bytes(size))))
        assert (reason.code if reason else None) is code
    for given_ in ((IMAGE, MASK), (Input(InputKind.STATE, bytes(4)), IMAGE, MASK)):
        reason = inputs.objection(spec, given_)
        assert reason is not None
        assert reason.code is ReasonCode.INPUT_WRONG
    assert inputs.objection(JOB, (IMAGE, MASK, Input(InputKind.STATE, bytes(4)))) is not None
