"""The worker's small decisions, without a process: previews, seeds, schedulers, PNG."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import diffusers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpufair.protocol.frames import FailCode, Run
from gpufair.protocol.limits import PREVIEW_MAX, STEPS_MAX
from gpufair.provider.inference import png, schedulers
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.request import guided, preview_due, refuse_bad, seed_of

RUN = Run(b"a" * 16, b"m" * 32, "a fox", 7, 20, 3000, 64, 64)
SETTING = st.one_of(st.integers(0, 70), st.integers(0, 2**32 - 1), st.sampled_from([64, 512, 4096]))


@given(st.integers(1, STEPS_MAX), st.integers(0, STEPS_MAX))
def test_no_preview_comes_in_the_last_quarter(steps: int, every: int) -> None:
    run = dataclasses.replace(RUN, steps=steps, preview_every=every)
    due = [step for step in range(steps + 1) if preview_due(run, step)]
    assert all(step <= steps * 0.75 and step % every == 0 for step in due)
    assert 0 not in due
    assert bool(due) is (0 < every <= steps * 0.75)


@given(st.integers(0, 2**64 - 1), st.integers(0, 63))
def test_seeds_wrap_and_never_repeat_within_a_job(seed: int, picture: int) -> None:
    run = dataclasses.replace(RUN, seed=seed)
    assert 0 <= seed_of(run, picture) < 2**64
    assert (seed_of(run, picture) - seed) % 2**64 == picture


@given(SETTING, SETTING, SETTING, SETTING, SETTING, SETTING)
@settings(max_examples=200)
def test_what_is_accepted_is_within_every_limit(
    w: int, h: int, steps: int, count: int, first: int, guidance: int
) -> None:
    run = dataclasses.replace(
        RUN, width=w, height=h, steps=steps, count=count, first_picture=first, guidance_milli=guidance
    )
    refused: RefusedError | None = None
    try:
        refuse_bad(run)
    except RefusedError as err:
        refused = err
    if refused is not None:
        assert refused.code is FailCode.BAD_REQUEST
        assert refused.message
        return
    assert w % 8 == h % 8 == 0
    assert 64 <= w * h <= 2048 * 2048
    assert 1 <= steps <= 500
    assert 1 <= count <= first + count <= 64
    assert guidance <= 50_000


def test_guidance_of_one_is_none() -> None:
    assert not guided(dataclasses.replace(RUN, guidance_milli=1000))
    assert guided(dataclasses.replace(RUN, guidance_milli=1001))


@pytest.fixture(scope="module")
def own(demo: Any) -> Any:
    return diffusers.DDIMScheduler.from_pretrained(demo.path, subfolder="scheduler")


@pytest.mark.parametrize("name", [name for name in schedulers.KINDS if name != "lcm"])
def test_a_scheduler_does_exactly_the_steps_asked_for_or_refuses(own: Any, name: str) -> None:
    refused = 0
    for steps in (1, 2, 3, 7, 20, 49, 50, 149, 333, STEPS_MAX):
        try:
            assert len(schedulers.fresh(own, name, steps, "cpu").timesteps) == steps
        except RefusedError:
            refused += 1
    assert refused == 0


def test_a_model_whose_own_scheduler_is_not_offered_needs_one_named() -> None:
    own = diffusers.PNDMScheduler()
    with pytest.raises(RefusedError, match="PNDM"):
        schedulers.fresh(own, "", 20, "cpu")
    assert isinstance(schedulers.fresh(own, "ddim", 20, "cpu"), diffusers.DDIMScheduler)


def test_lcm_is_for_models_made_for_it() -> None:
    own = diffusers.LCMScheduler()
    for name in ("lcm", ""):
        assert len(schedulers.fresh(own, name, 4, "cpu").timesteps) == 4
    with pytest.raises(RefusedError, match="distilled"):
        schedulers.fresh(diffusers.DDIMScheduler(), "lcm", 4, "cpu")


def test_a_fresh_scheduler_shares_nothing_with_the_last(own: Any) -> None:
    first, second = (schedulers.fresh(own, "unipc", 5, "cpu") for _ in range(2))
    assert first is not second
    assert first.model_outputs is not second.model_outputs


def test_a_noisy_preview_still_fits_its_limit() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2048, 1024, 3), dtype=np.uint8)
    small = png.preview(Image.fromarray(noise))
    assert len(small) <= PREVIEW_MAX
    width, height = Image.open(io.BytesIO(small)).size
    assert width <= 256
    assert height <= 512


def test_png_is_the_pixels_and_nothing_more() -> None:
    picture = Image.fromarray(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3))
    picture.info |= {"comment": "a prompt", "icc_profile": b"x"}
    data = png.encode(picture)
    again = Image.open(io.BytesIO(data))
    assert again.info == {}
    assert np.array_equal(np.asarray(again), np.asarray(picture))
    assert data == png.encode(picture)
