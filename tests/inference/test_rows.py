"""Rows that share the denoiser: each stays what it would be alone, whoever joins or leaves between two steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gpufair.protocol.frames import Run
from gpufair.provider.inference import rows, weights
from gpufair.provider.inference.words import Words

CPU = torch.device("cpu")
NAMES = ["ddim", "euler", "euler_ancestral", "dpmpp_2m", "unipc"]
TOLERANCE = 1e-5
QUICK = {"ddim", "dpmpp_2m"}
"""One that carries nothing on and one that does; that each of them may share a call is shown for all."""


@pytest.fixture(scope="module")
def pipeline(demo: Any) -> Any:
    torch.set_num_threads(1)
    return weights.load(Path(demo.path), demo.digest, CPU)[0]


def row(pipeline: Any, run: Run, picture: int = 0) -> rows.Row:
    with torch.no_grad():
        return rows.begin(pipeline, run, picture, Words(CPU).of(pipeline, run), CPU)


def alone(pipeline: Any, run: Run, picture: int = 0) -> torch.Tensor:
    made = row(pipeline, run, picture)
    with torch.no_grad():
        while not made.is_done:
            rows.advance(pipeline.unet, [made])
    return made.latents


def difference(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((ours - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.long) for n in NAMES])
def test_jobs_join_and_leave_between_steps(pipeline: Any, demo: Any, name: str) -> None:
    """Three jobs with other prompts, guidance, seeds and lengths; the second joins late, the first leaves early."""
    runs = [
        demo.run(scheduler=name, steps=4, seed=3),
        demo.run(scheduler=name, steps=7, seed=4, prompt="a red apple", guidance_milli=5000),
        demo.run(scheduler=name, steps=6, seed=5, prompt="a panda", negative_prompt="blue"),
    ]
    made = [row(pipeline, run) for run in runs]
    with torch.no_grad():
        rows.advance(pipeline.unet, [made[0], made[2]])
        while going := [one for one in made if not one.is_done]:
            rows.advance(pipeline.unet, going)
    for one in made:
        assert difference(one.latents, alone(pipeline, one.run)) < TOLERANCE


def test_rows_of_other_schedulers_share_a_call(pipeline: Any, demo: Any) -> None:
    made = [row(pipeline, demo.run(scheduler=name, steps=5, seed=seed)) for seed, name in enumerate(NAMES)]
    assert len({one.key for one in made}) == 1
    with torch.no_grad():
        for _ in range(5):
            rows.advance(pipeline.unet, made)
    for one in made:
        assert difference(one.latents, alone(pipeline, one.run)) < TOLERANCE


def test_what_may_not_share_has_another_key(pipeline: Any, demo: Any) -> None:
    plain = demo.run()
    keys = {row(pipeline, run).key for run in (plain, replace(plain, width=96), replace(plain, guidance_milli=1000))}
    assert len(keys) == 3
    assert row(pipeline, replace(plain, seed=9, steps=11, prompt="a dog")).key in keys


def test_a_picture_of_eight_is_the_one_alone(pipeline: Any, demo: Any) -> None:
    run = demo.run(seed=40, steps=3, count=8)
    made = [row(pipeline, run, picture) for picture in range(8)]
    with torch.no_grad():
        for _ in range(3):
            rows.advance(pipeline.unet, made)
    for picture in (0, 5):
        single = replace(run, seed=40 + picture, count=1)
        assert difference(made[picture].latents, alone(pipeline, single)) < TOLERANCE
