"""A worker's memory: more models than its budget holds, one after the other, and none of it grows."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from gpufair.protocol.frames import Accepting, Done, FailCode, Failed, Load, Loaded, LoadFailed
from gpufair.protocol.limits import MIB

UNET, OTHERS = 42 * MIB, 6 * MIB
"""What a sibling's denoiser, and what all that it shares, take in fp32, rounded up."""
ROOM = 2 * UNET + OTHERS


@pytest.fixture(scope="module")
def narrow(start: Any) -> Any:
    """A worker whose budget holds two siblings."""
    return start(weights_bytes=ROOM)


def load(worker: Any, model: Any) -> Loaded | LoadFailed:
    worker.send(Load(model.digest, model.path))
    answer = worker.until(Loaded, LoadFailed)[-1]
    assert answer.digest == model.digest
    return answer


def resident(worker: Any) -> int:
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    return pages * 4096


def test_siblings_share_what_they_have_in_common(start: Any, demo: Any, siblings: list[Any]) -> None:
    worker = start(weights_bytes=2**34)
    first = load(worker, siblings[0])
    before = resident(worker)
    for model in siblings[1:]:
        assert load(worker, model).held[-1] == model.digest
    grown = (resident(worker) - before) / 3
    assert grown < UNET + OTHERS / 2, "a denoiser each, and nothing else"
    assert load(worker, siblings[0]) == Loaded(
        siblings[0].digest, 0, first.size, tuple([m.digest for m in (*siblings[1:], siblings[0])])
    )


def test_a_budget_for_two_holds_two_and_says_which(narrow: Any, siblings: list[Any]) -> None:
    a, b, c, _ = siblings
    load(narrow, a)
    load(narrow, b)
    assert isinstance(narrow.run(a.run(steps=1))[-1], Done)  # now b is the one unused longest
    assert load(narrow, c).held == (a.digest, c.digest)
    gone = narrow.run(b.run(steps=1))[-1]
    assert isinstance(gone, Failed)
    assert gone.code is FailCode.MODEL_MISSING
    assert load(narrow, b).load_ms > 0


def test_a_model_waits_for_those_in_use_and_no_newcomer_gets_past_it(narrow: Any, siblings: list[Any]) -> None:
    a, b, c, _ = siblings
    for model in (a, b):
        load(narrow, model)
    first, second, late = a.run(steps=6), b.run(steps=6), a.run(steps=1)
    for frame in (first, second, Load(c.digest, c.path), late):
        narrow.send(frame)
    got = narrow.until(Loaded, LoadFailed)
    assert {Done(first.attempt), Done(second.attempt)} == {frame for frame in got if isinstance(frame, Done)}
    assert Accepting(late.attempt) not in got
    assert isinstance(got[-1], Loaded)
    assert got[-1].held[-1] == c.digest
    narrow.until(Done, Failed)


def test_a_model_larger_than_the_budget_is_refused_with_the_numbers(start: Any, siblings: list[Any]) -> None:
    worker = start(weights_bytes=20 * MIB)
    refused = load(worker, siblings[0])
    assert isinstance(refused, LoadFailed)
    assert refused.code is FailCode.OUT_OF_MEMORY
    assert str(20 * MIB) in refused.message


@pytest.mark.parametrize("jobs", [40, pytest.param(200, marks=pytest.mark.long)])
def test_many_jobs_on_four_models_leave_memory_flat(narrow: Any, siblings: list[Any], jobs: int) -> None:
    used = []
    for number in range(jobs):
        model = siblings[number * 7 // 3 % 4]
        assert isinstance(load(narrow, model), Loaded)
        assert isinstance(narrow.run(model.run(steps=1, guidance_milli=1000))[-1], Done)
        used.append(resident(narrow) / MIB)
    settled = used[jobs // 4 :]
    slope = statistics.linear_regression(range(len(settled)), settled).slope
    assert abs(slope) < 0.25, f"{slope} MiB a job; {[round(u) for u in used]}"
    assert max(used) - min(settled) < 2 * UNET / MIB
