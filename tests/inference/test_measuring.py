"""A worker measures itself: plausible figures, of what was asked, in company with nobody."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from gpufair.protocol.frames import Done, FailCode, Failed, Measure, Measured


def measured(warm: Any, run: Any, rounds: int = 2) -> Measured | Failed:
    warm.send(Measure(run, rounds))
    answer = warm.until(Measured, Failed)[-1]
    assert answer.attempt == run.attempt
    return answer


def test_the_figures_add_up(warm: Any, demo: Any) -> None:
    start = time.perf_counter()
    small = measured(warm, demo.run(steps=6))
    wall_us = (time.perf_counter() - start) * 1e6
    assert isinstance(small, Measured), small
    assert 0 < small.step_us < small.whole_us < wall_us / 2
    parts = 6 * small.step_us + small.decode_us
    # Whatever else is at work here, a figure in a wrong unit is a thousand times off.
    assert parts / 10 < small.whole_us < parts * 10 + 200_000, "steps, decoding, and the words"
    assert 10**8 < small.matmul_flops < 10**13
    assert small.peak_bytes > 10**8
    used = small.step_flops * 1e6 / small.step_us / small.matmul_flops
    assert 0.001 < used < 20, "a share of what a large matrix product reaches"


def test_operations_are_counted_and_not_guessed(warm: Any, demo: Any) -> None:
    one = measured(warm, demo.run(steps=2, guidance_milli=1000), 1)
    two = measured(warm, demo.run(steps=2), 1)
    wide = measured(warm, demo.run(steps=2, guidance_milli=1000, width=128, height=128), 1)
    assert isinstance(one, Measured)
    assert isinstance(two, Measured)
    assert isinstance(wide, Measured)
    assert one.step_flops > 10**7
    assert two.step_flops == pytest.approx(2 * one.step_flops, rel=0.01), "guidance is a second half"
    assert wide.decode_flops == pytest.approx(4 * one.decode_flops, rel=0.5)
    again = measured(warm, demo.run(steps=2), 1)
    assert isinstance(again, Measured)
    assert (again.step_flops, again.decode_flops) == (two.step_flops, two.decode_flops)


def test_what_is_under_way_is_finished_first_and_nothing_is_left_behind(warm: Any, demo: Any) -> None:
    run, order = demo.run(), Measure(demo.run(steps=1), 1)
    warm.send(run)
    warm.send(order)
    got = warm.until(Measured, Failed)
    assert Done(run.attempt) in got
    assert isinstance(got[-1], Measured)
    assert isinstance(warm.run(demo.run(steps=1))[-1], Done)


def test_what_cannot_be_made_cannot_be_measured(warm: Any, demo: Any) -> None:
    for changes, code in (
        ({"model": os.urandom(32)}, FailCode.MODEL_MISSING),
        ({"width": 12}, FailCode.BAD_REQUEST),
        ({"precision": "half"}, FailCode.BAD_REQUEST),
    ):
        failed = measured(warm, demo.run(**changes))
        assert isinstance(failed, Failed)
        assert failed.code is code
