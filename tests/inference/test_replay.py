"""A step done again: what is honest is never flagged, and every way to save work shows as often as is told."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

import lora
from replays import CHEATS, INPUTS, Claim, judged, made, order, threads

from gpufair.protocol import auditing
from gpufair.protocol.auditing import Errors
from gpufair.protocol.edge import tolerances
from gpufair.protocol.frames import (
    ADAPTER,
    IMAGE_TO_IMAGE,
    INPAINT,
    TEXT_TO_IMAGE,
    Accepting,
    Adapter,
    FailCode,
    Failed,
    Input,
    Load,
    Loaded,
    LoadFailed,
    Replay,
    Replayed,
)
from gpufair.protocol.limits import OUTPUT_CHUNK
from gpufair.protocol.messages import Verdict
from gpufair.provider.inference import weights
from gpufair.provider.inference.adapters import Adapters

NAMES = ["ddim", "euler", "euler_ancestral", "dpmpp_2m", "unipc"]
TASKS = [TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINT]
STEPS = 4
LIMIT = tolerances.load()["cpu/float32", "cpu/float32"]
LOST = 2**64 - 1


@pytest.fixture(scope="module")
def pipeline(demo: Any) -> Any:
    torch.set_num_threads(1)
    return weights.load(Path(demo.path), demo.digest, torch.device("cpu"))[0]


def passes(told: Replayed, limit: Errors = LIMIT) -> bool:
    measured = Errors(told.start_nano, told.step_nano, told.picture_nano)
    return auditing.verdict(auditing.judge(measured, limit)) is Verdict.PASSED


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_within_one_profile_nothing_differs(pipeline: Any, demo: Any, name: str, task: str) -> None:
    claim = made(pipeline, *order(demo, task=task, scheduler=name, steps=3, first_picture=1))
    for step in (0, 2):
        told = judged(pipeline, claim, step)
        assert (told.start_nano, told.step_nano, told.picture_nano) == (0, 0, 0)


PAIRS = [*zip(NAMES, (*TASKS, *TASKS[1:]), strict=True)]


# Two threads beside another busy process take several times as long as one.
@pytest.mark.parametrize(("name", "task"), [PAIRS[3], *(pytest.param(*p, marks=pytest.mark.long) for p in PAIRS)])
def test_other_threads_are_honest_too(pipeline: Any, demo: Any, name: str, task: str) -> None:
    """They round otherwise."""
    run, inputs = order(demo, task=task, scheduler=name, steps=3, seed=4)
    with threads(2):
        elsewhere = made(pipeline, run, inputs)
    _is_honest_and_another(pipeline, elsewhere)


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_who_drew_in_company_is_honest_too(pipeline: Any, demo: Any, name: str, task: str) -> None:
    """Beside others' rows sums are rounded otherwise."""
    run, inputs = order(demo, task=task, scheduler=name, steps=3, seed=4)
    _is_honest_and_another(pipeline, made(pipeline, run, inputs, company=2))


def _is_honest_and_another(pipeline: Any, claim: Claim) -> None:
    told = [judged(pipeline, claim, step) for step in (0, 2)]
    assert all(passes(one) for one in told), told
    assert any(one.step_nano for one in told), "it is no other profile"


def missed(pipeline: Any, claim: Claim) -> list[int]:
    """The steps of a claim that an audit finds nothing wrong with."""
    return [step for step in range(claim.run.steps) if passes(judged(pipeline, claim, step))]


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("cheat", [cheat for cheat in CHEATS if cheat != "every second call"])
def test_a_cheat_is_caught_at_every_step(pipeline: Any, demo: Any, cheat: str, name: str) -> None:
    claim = CHEATS[cheat](pipeline, *order(demo, scheduler=name, steps=STEPS, seed=3))
    assert missed(pipeline, claim) == []


@pytest.mark.parametrize("name", ["ddim", "unipc"])
def test_who_leaves_out_every_second_call_is_caught_at_every_second_step(pipeline: Any, demo: Any, name: str) -> None:
    """What is honest of it passes: of so many audits one half finds nothing (docs/audit.md)."""
    claim = CHEATS["every second call"](pipeline, *order(demo, scheduler=name, steps=STEPS, seed=3))
    assert missed(pipeline, claim) == [step for step in range(STEPS) if step % 2 == 0]


def test_weights_of_8_bits_are_far_from_every_honest_step(pipeline: Any, demo: Any) -> None:
    """The measure is the denoiser's contribution: by the latents' own size this cheat hides among roundings."""
    claim = CHEATS["weights of 8 bits"](pipeline, *order(demo, scheduler="ddim", steps=STEPS, seed=3))
    assert min(judged(pipeline, claim, step).step_nano for step in range(STEPS)) > 100 * LIMIT.step


@pytest.mark.parametrize("part", ["image", "mask"])
def test_another_input_shows(pipeline: Any, demo: Any, part: str) -> None:
    """Who began from another picture, or made another part anew, did not do what was ordered."""
    run, inputs = order(demo, task=INPAINT, scheduler="ddim", steps=4)
    place = [ref.kind for ref in run.inputs].index(part)
    turned = _turned(INPUTS[part])
    false = [turned if index == place else data for index, data in enumerate(inputs)]
    claim = replace(made(pipeline, run, false), inputs=inputs)
    assert missed(pipeline, claim) == []


def _turned(data: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        picture.rotate(90).save(out, "PNG")
    return out.getvalue()


# --- over frames -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def claim(pipeline: Any, demo: Any) -> Claim:
    return made(pipeline, *order(demo, scheduler="dpmpp_2m", steps=3))


def asked(worker: Any, order: Replay, inputs: list[bytes]) -> Any:
    for index, data in enumerate(inputs):
        for offset in range(0, len(data), OUTPUT_CHUNK):
            piece = data[offset : offset + OUTPUT_CHUNK]
            worker.send(Input(order.run.attempt, index, offset, len(data), piece))
    worker.send(order)
    *before, answer = worker.until(Replayed, Failed)
    assert [type(frame) for frame in before] == [Accepting]
    return answer


def test_a_worker_judges_over_its_pipe(warm: Any, claim: Claim) -> None:
    for step in range(3):
        told = asked(warm, *claim.audit(step))
        assert (told.start_nano, told.step_nano, told.picture_nano) == (0, 0, 0)


def test_a_lora_is_part_of_the_order(warm: Any, pipeline: Any, demo: Any, tmp_path: Path) -> None:
    """With it the step is the same to the bit; who drew without it, or with another weight, is caught."""
    digest = lora.write(tmp_path / "lora", lora.peft(lora.dice(pipeline, text=True)))
    held = Adapters()
    held.load(tmp_path / "lora", digest)
    run, inputs = order(demo, scheduler="ddim", steps=2)
    ordered = replace(run, adapters=(Adapter(digest, 1000),))
    claims = []
    for done in (ordered, run, replace(run, adapters=(Adapter(digest, 900),))):
        with held.patch(pipeline, done):
            claims.append(replace(made(pipeline, done, inputs), run=ordered))
    warm.send(Load(digest, str(tmp_path / "lora"), ADAPTER))
    assert isinstance(warm.until(Loaded, LoadFailed)[-1], Loaded)
    honest, *cheats = (asked(warm, *claim.audit(1)) for claim in claims)
    assert (honest.start_nano, honest.step_nano, honest.picture_nano) == (0, 0, 0)
    assert not any(passes(cheat) for cheat in cheats)


def test_what_cannot_be_compared_is_as_far_as_can_be(warm: Any, claim: Claim) -> None:
    true = claim.states
    nothing = np.full(len(true[2]) // 4, np.nan, "<f4").tobytes()
    for states, lost in (
        ([*true[:2], nothing, true[3]], "step_nano"),
        ([true[0][:-4], *true[1:]], "start_nano"),
        ([true[0], true[1][:-8], *true[2:]], "step_nano"),
        ([*true[:3], true[3] * 2], "picture_nano"),
    ):
        assert getattr(asked(warm, *replace(claim, states=states).audit(1)), lost) == LOST
    assert asked(warm, *replace(claim, png=b"no picture").audit(1)).picture_nano == LOST


def test_an_order_that_lacks_something_is_refused(warm: Any, claim: Claim) -> None:
    replayed, inputs = claim.audit(0)
    run = replayed.run
    for bad, given, word in (
        (replace(replayed, step=1), inputs, "needs the states"),
        (replace(replayed, step=3), inputs, "step 3 of a run from 0 to 3"),
        (replace(replayed, run=replace(run, inputs=run.inputs[:-1])), inputs[:-1], "delivered"),
        (replace(replayed, run=replace(run, width=12)), inputs, "width"),
        (replace(replayed, run=replace(run, model=bytes(32))), inputs, "not loaded"),
        (replayed, inputs[:-1], "inputs"),
    ):
        answer = asked(warm, bad, given)
        assert isinstance(answer, Failed)
        assert answer.code in (FailCode.BAD_REQUEST, FailCode.MODEL_MISSING)
        assert word in answer.message


# --- many ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_ten_thousand_honest_steps_are_never_flagged(pipeline: Any, demo: Any) -> None:
    """Every scheduler and task, other seeds and lengths, two threads instead of one or the company of others."""
    done = 0
    for seed in range(10_000):
        name, task = NAMES[seed % len(NAMES)], TASKS[seed % len(TASKS)]
        run, inputs = order(demo, task=task, scheduler=name, steps=8 + seed % 24, seed=seed)
        with threads(1 + seed % 2):
            claim = made(pipeline, run, inputs, company=0 if seed % 2 else 1 + seed % 3)
        for step in range(run.steps):
            told = judged(pipeline, claim, step)
            assert passes(told), (seed, name, task, step, told)
        done += run.steps
        if done >= 10_000:
            return
