"""Inputs on their way in, and attempts that are taken up again: what is named comes whole, or it is refused."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpufair.protocol import limits, trace
from gpufair.protocol.frames import (
    IMAGE,
    IMAGE_TO_IMAGE,
    STATE,
    Cancel,
    Done,
    FailCode,
    Failed,
    Input,
    InputRef,
    Run,
    State,
    Step,
)
from gpufair.provider.inference import png
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.inputs import Inbox

RUN = Run(b"a" * 16, b"m" * 32, "a fox", 7, 20, 3000, 64, 64)
NULL = "gpufair.provider.inference.null"


def named(kind: str, data: bytes, step: int = 0) -> InputRef:
    return InputRef(kind, hashlib.sha256(data).digest(), len(data), step)


def naming(*inputs: bytes) -> Run:
    return replace(RUN, inputs=tuple(named(IMAGE, data) for data in inputs))


def piece(index: int, offset: int, total: int, data: bytes, attempt: bytes = RUN.attempt) -> Input:
    return Input(attempt, index, offset, total, data)


def test_inputs_are_put_together_in_order() -> None:
    inbox = Inbox()
    for one in (piece(0, 0, 5, b"abc"), piece(0, 3, 5, b"de"), piece(1, 0, 1, b"f")):
        inbox.put(one)
    assert inbox.claim(naming(b"abcde", b"f")) == (b"abcde", b"f")
    assert inbox.claim(RUN) == ()


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([piece(1, 0, 3, b"abc")], "input 1 came where input 0"),
        ([piece(0, 1, 3, b"bc")], "from 1, 0 are here"),
        ([piece(0, 0, 3, b"ab"), piece(1, 0, 3, b"abc")], "input 1 came where input 0"),
        ([piece(0, 0, 3, b"ab"), piece(0, 2, 4, b"cd")], "3 bytes in one piece and 4 in another"),
        ([piece(0, 0, 3, b"ab"), piece(0, 1, 3, b"bc")], "from 1, 2 are here"),
        ([piece(0, 0, 3, b"ab"), piece(0, 2, 3, b"cd")], "4 bytes of input 0, it has 3"),
        ([piece(0, 0, 3, b"ab")], "2 bytes, the attempt names 3"),
        ([piece(0, 0, 3, b"abd")], "its digest is another"),
        ([piece(0, 0, 3, b"abc"), piece(1, 0, 1, b"x")], "2 inputs were sent, the attempt names 1"),
        ([], "0 inputs were sent, the attempt names 1"),
        ([piece(n, 0, limits.OUTPUT_MAX, b"x") for n in range(1)] + [piece(0, 1, 1, b"x")], "in another"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_numbers(pieces: list[Input], said: str) -> None:
    inbox = Inbox()
    for one in pieces:
        inbox.put(one)
    with pytest.raises(RefusedError, match=said) as caught:
        inbox.claim(naming(b"abc"))
    assert caught.value.code is FailCode.BAD_REQUEST
    inbox.put(piece(0, 0, 3, b"abc"))
    assert inbox.claim(naming(b"abc")) == (b"abc",), "the next attempt of that name starts afresh"


def test_one_attempt_and_all_of_them_are_bounded() -> None:
    inbox = Inbox()
    for index in range(limits.RUN_INPUTS_MAX + 1):
        inbox.put(piece(index, 0, 1, b"x"))
    with pytest.raises(RefusedError, match=str(limits.RUN_INPUTS_MAX)):
        inbox.claim(RUN)
    inbox = Inbox(most_bytes=10)
    for attempt in (b"1" * 16, b"2" * 16, b"3" * 16):
        inbox.put(piece(0, 0, 4, b"abcd", attempt))
    with pytest.raises(RefusedError, match="0 inputs were sent"):
        inbox.claim(replace(naming(b"abcd"), attempt=b"1" * 16))  # waited longest
    assert inbox.claim(replace(naming(b"abcd"), attempt=b"3" * 16)) == (b"abcd",)


def test_states_come_before_their_steps_and_are_what_the_leaves_commit_to(warm: Any, demo: Any, pictures: Any) -> None:
    run = demo.run(steps=3, count=2, scheduler="unipc", trace=True)
    got = warm.run(run)
    seen, kinds = pictures(got), [(type(f), f.picture, f.step) for f in got if isinstance(f, State | Step)]
    for index, (kind, picture, step) in enumerate(kinds):
        if kind is Step:
            assert kinds[index - 1] == (State, picture, step)
    for picture in (0, 1):
        assert seen.leaves[picture] == [trace.leaf(step, seen.states[picture, step]) for step in range(4)]
    assert seen.png == pictures(warm.run(replace(run, trace=False))).png


@pytest.mark.parametrize("first_step", [1, 3, 4])
def test_an_attempt_taken_up_again_goes_on_as_if_nothing_had_happened(
    warm: Any, demo: Any, pictures: Any, first_step: int
) -> None:
    run = demo.run(steps=4, scheduler="unipc", count=2, seed=31, trace=True)
    whole = pictures(warm.run(run))
    state = whole.states[0, first_step]
    again = replace(
        run, attempt=b"z" * 16, first_step=first_step, trace=False, inputs=(named(STATE, state, first_step),)
    )
    got = warm.run(again, state)
    assert isinstance(got[-1], Done)
    told = pictures(got)
    assert [f.step for f in got if isinstance(f, Step) and f.picture == 0] == list(range(first_step + 1, 5))
    assert told.png == whole.png
    assert told.leaves[0] == whole.leaves[0][first_step + 1 :]
    assert told.leaves[1] == whole.leaves[1]
    known = whole.leaves[0][first_step:]  # the leaf of the state that it began from counts
    assert (told.ends[0].leaf_count, told.ends[0].trace_root) == (len(known), trace.root(known))


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({"first_step": 2}, b"", "needs state"),
        ({"first_step": 5}, b"x" * 4096, "5 steps are done already, there are 4"),
        ({}, b"x" * 4096, "the inputs are state; text_to_image here needs none"),
        ({"first_step": 2}, b"x" * 4092, "4092 bytes, after step 2 it has 4096"),
        ({"first_step": 1}, b"x" * 4096, "the state is of step 2, where 1 are done"),
    ],
)
def test_a_state_that_can_not_be_is_refused(warm: Any, demo: Any, changes: Any, state: bytes, said: str) -> None:
    step = changes.get("first_step", 0) if "is of step" not in said else 2
    refs = (named(STATE, state, step),) if state else ()
    failed = warm.run(demo.run(inputs=refs, **changes), *([state] if state else []))[-1]
    assert isinstance(failed, Failed)
    code = FailCode.CHECKPOINT_WRONG if said.startswith("4092") else FailCode.BAD_REQUEST
    assert (failed.code, said in failed.message) == (code, True), failed.message


def test_inputs_of_a_cancelled_attempt_are_forgotten(start: Any) -> None:
    worker = start(NULL)
    run = replace(naming(b"abc"), task=IMAGE_TO_IMAGE)
    worker.send(piece(0, 0, 3, b"abc"))
    worker.send(Cancel(run.attempt))
    assert worker.run(run)[-1].code is FailCode.CANCELLED
    fresh = replace(run, attempt=b"b" * 16)
    assert "0 inputs were sent" in worker.run(fresh)[-1].message


def test_the_null_worker_keeps_to_it_too(start: Any, pictures: Any) -> None:
    worker = start(NULL)
    assert worker.run(replace(naming(b"abc"), task=IMAGE_TO_IMAGE, skip=3), b"abc")[-1] == Done(RUN.attempt)
    whole = pictures(worker.run(replace(RUN, trace=True)))
    assert whole.leaves[0] == [trace.leaf(step, whole.states[0, step]) for step in range(21)]
    state = whole.states[0, 7]
    got = worker.run(replace(RUN, first_step=7, inputs=(named(STATE, state, 7),)), state)
    told = pictures(got)
    assert told.leaves[0] == whole.leaves[0][8:]
    assert told.ends[0].trace_root == trace.root(whole.leaves[0][7:])
    assert isinstance(worker.run(replace(RUN, first_step=7))[-1], Failed)
    refused = worker.run(replace(RUN, first_step=8, inputs=(named(STATE, state, 8),)), state)[-1]
    assert refused.code is FailCode.CHECKPOINT_WRONG


SMALL = png.encode(Image.linear_gradient("L").resize((16, 8)).convert("RGB"))
ATTEMPTS = (b"1" * 16, b"2" * 16)
SOME_DATA = st.binary(min_size=1, max_size=6)
ANY_PIECE = st.builds(
    Input, st.sampled_from(ATTEMPTS), st.integers(0, 9), st.integers(0, 8), st.integers(1, 9), SOME_DATA
)


@given(st.lists(ANY_PIECE, max_size=30), st.lists(SOME_DATA, max_size=3))
def test_whatever_comes_an_attempt_gets_exactly_what_it_names_or_nothing(pieces: list[Input], due: list[bytes]) -> None:
    inbox = Inbox(most_bytes=40)
    for one in pieces:
        inbox.put(one)
    for attempt in ATTEMPTS:
        with suppress(RefusedError):
            assert inbox.claim(replace(naming(*due), attempt=attempt)) == tuple(due)


@given(st.data())
@settings(max_examples=200)
def test_a_png_with_any_bytes_changed_is_a_picture_of_its_size_or_refused(data: st.DataObject) -> None:
    spoilt = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))])
    with suppress(RefusedError):
        assert png.decode(cut, IMAGE, 16, 8).size == (16, 8)
