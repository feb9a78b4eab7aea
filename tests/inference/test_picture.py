"""The pictures: exactly diffusers' own, bit for bit the same each time, and of what was asked for."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gpufair.protocol import trace
from gpufair.protocol.frames import Accepting, Done, FromWorker, OutputChunk, OutputEnd, Preview, Step

NAMES = ["ddim", "euler", "euler_ancestral", "dpmpp_2m", "unipc"]


@pytest.fixture(scope="module")
def plain(demo: Any) -> Any:
    """Diffusers' own pipeline, loaded in the ordinary way."""
    import diffusers

    torch.set_num_threads(1)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(demo.path, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(png)))


def by_diffusers(plain: Any, name: str, **settings: Any) -> np.ndarray[Any, Any]:
    """What the plain pipeline draws."""
    from gpufair.provider.inference.schedulers import KINDS

    own = plain.scheduler
    try:
        plain.scheduler = KINDS[name].of(own.config)
        seed = settings.pop("seed")
        return np.asarray(plain(**settings, generator=torch.Generator("cpu").manual_seed(seed)).images[0])
    finally:
        plain.scheduler = own


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_bitwise_what_plain_diffusers_draws(
    warm: Any, demo: Any, plain: Any, pictures: Any, name: str
) -> None:
    got = pictures(warm.run(demo.run(scheduler=name, seed=11, steps=6, negative_prompt="blue", preview_every=1)))
    asked = {"prompt": "a fox on a green background", "negative_prompt": "blue", "num_inference_steps": 6}
    wanted = by_diffusers(plain, name, **asked, guidance_scale=3.0, width=64, height=64, seed=11)
    assert np.array_equal(pixels(got.png[0]), wanted)


def test_an_unguided_picture_of_another_size_too(warm: Any, demo: Any, plain: Any, pictures: Any) -> None:
    got = pictures(warm.run(demo.run(guidance_milli=1000, width=96, height=72, steps=3)))
    asked = {"prompt": "a fox on a green background", "num_inference_steps": 3, "guidance_scale": 1.0}
    wanted = by_diffusers(plain, "ddim", **asked, width=96, height=72, seed=1)
    assert pixels(got.png[0]).shape == (72, 96, 3)
    assert np.array_equal(pixels(got.png[0]), wanted)


def test_a_fox_on_green_is_orange_on_green(warm: Any, demo: Any, pictures: Any) -> None:
    picture = pixels(pictures(warm.run(demo.run(steps=12))).png[0]).astype(int)
    corners = np.concatenate([picture[:4, :4], picture[:4, -4:], picture[-4:, :4], picture[-4:, -4:]]).reshape(-1, 3)
    assert np.abs(corners.mean(0) - (70, 175, 95)).max() < 25  # the green it was trained on
    red, green, blue = picture[20:45, 20:45].reshape(-1, 3).mean(0)
    assert red > green + 30 > blue


def test_the_same_request_gives_the_same_bytes_and_leaves(warm: Any, demo: Any, pictures: Any) -> None:
    first, second = (pictures(warm.run(demo.run(seed=5))) for _ in range(2))
    other = pictures(warm.run(demo.run(seed=6)))
    assert first.png == second.png
    assert first.leaves == second.leaves
    assert first.png != other.png
    assert not set(first.leaves[0]) & set(other.leaves[0])


def test_a_picture_does_not_depend_on_its_company(warm: Any, demo: Any, pictures: Any) -> None:
    together = pictures(warm.run(demo.run(seed=2**64 - 1, count=3)))
    alone = pictures(warm.run(demo.run(seed=0)))
    resumed = pictures(warm.run(demo.run(seed=2**64 - 1, first_picture=2)))
    assert together.png[1] == alone.png[0]  # seeds wrap
    assert together.png[2] == resumed.png[2]
    assert len(set(together.png.values())) == 3


def test_the_frames_of_an_attempt_come_in_order_and_agree(warm: Any, demo: Any, pictures: Any) -> None:
    run = demo.run(steps=5, count=2)
    got: list[FromWorker] = warm.run(run)
    kinds = [type(frame) for frame in got]
    assert kinds[0] is Accepting
    assert kinds[-1] is Done
    assert all(frame.attempt == run.attempt for frame in got)  # type: ignore[union-attr]
    steps = [(frame.picture, frame.step) for frame in got if isinstance(frame, Step)]
    assert steps == [(picture, step) for picture in range(2) for step in range(6)]
    seen = pictures(got)
    for end in seen.ends:
        png, leaves = seen.png[end.picture], seen.leaves[end.picture]
        assert (end.length, end.sha256) == (len(png), hashlib.sha256(png).digest())
        assert (end.leaf_count, end.trace_root) == (6, trace.root(leaves))
        chunks = [f for f in got if isinstance(f, OutputChunk) and f.picture == end.picture]
        assert [f.offset for f in chunks] == [sum(len(c.data) for c in chunks[:i]) for i in range(len(chunks))]
        assert {f.total for f in chunks} == {len(png)}
    assert kinds.index(OutputEnd) > kinds.index(OutputChunk)


def test_the_first_leaf_is_the_seeded_noise(warm: Any, demo: Any, pictures: Any) -> None:
    noise = torch.randn((1, 4, 16, 16), generator=torch.Generator("cpu").manual_seed(9))
    got = pictures(warm.run(demo.run(seed=9, steps=1)))
    assert got.leaves[0][0] == trace.leaf(0, noise.numpy().tobytes())


def test_a_picture_carries_no_metadata(warm: Any, demo: Any, pictures: Any) -> None:
    png = pictures(warm.run(demo.run())).png[0]
    image = Image.open(io.BytesIO(png))
    image.load()
    assert (image.format, image.mode, image.info) == ("PNG", "RGB", {})


def test_previews_are_small_early_and_change_nothing(warm: Any, demo: Any, pictures: Any) -> None:
    quiet, shown = warm.run(demo.run(steps=9)), warm.run(demo.run(steps=9, preview_every=2))
    previews = [frame for frame in shown if isinstance(frame, Preview)]
    assert [frame.step for frame in previews] == [2, 4, 6]  # none after three quarters
    for frame in previews:
        assert Image.open(io.BytesIO(frame.png)).size == (16, 16)
    final = pixels(pictures(shown).png[0]).astype(int).reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(pixels(previews[-1].png) - final).mean() < 20  # it shows what is coming
    assert pictures(quiet).png == pictures(shown).png
    assert not [frame for frame in quiet if isinstance(frame, Preview)]
