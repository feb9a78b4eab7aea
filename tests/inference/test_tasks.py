"""Every task with every scheduler: what diffusers' own pipelines make of the same words, pictures, seed and strength.

Alone to the bit, in company within 1e-5. Their schedule is ours where their strength, rounded their way, leaves as many
steps: int(n x strength) of n = skip + steps.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from gpufair.protocol.frames import IMAGE, IMAGE_TO_IMAGE, INPAINT, MASK, TEXT_TO_IMAGE, FailCode, Failed, InputRef, Run
from gpufair.provider.inference import diffusion, png, rows, schedulers, weights
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.request import refuse_bad
from gpufair.provider.inference.tasks import TASKS
from gpufair.provider.inference.words import Words

CPU = torch.device("cpu")
STEPS, SKIP, GUIDANCE, TOLERANCE = 4, 2, 3.0, 1e-5
WORDS = ("a fox on a green background", "a panda on a pink background", "a red apple on a white background")
ALL = list(itertools.product(TASKS, schedulers.KINDS))


def drawn(seed: int) -> Image.Image:
    """Something like a photograph: large blobs and some noise."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((64, 64))
    noisy = np.asarray(blobs).astype(int) + rng.integers(-9, 10, (64, 64, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def mask(seed: int) -> Image.Image:
    """White where it is made anew; greys between, for the worker has to round."""
    slope = np.arange(64)[:, None] * 3 + np.arange(64)[None] * (seed + 1)
    return Image.fromarray(slope.clip(0, 255).astype(np.uint8))


def as_png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def plain(demo: Any) -> Any:
    """Diffusers' own pipeline; its scheduler says that the model was distilled, so that LCM may be asked for too."""
    torch.set_num_threads(1)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(demo.path, dtype=torch.float32)
    pipeline.scheduler = diffusers.LCMScheduler.from_config(pipeline.scheduler.config)
    return pipeline


@pytest.fixture(scope="module")
def pipeline(demo: Any) -> Any:
    """The same in our worker's hands."""
    torch.set_num_threads(1)
    pipeline = weights.load(Path(demo.path), demo.digest, CPU)[0]
    pipeline.scheduler = diffusers.LCMScheduler.from_config(pipeline.scheduler.config)
    return pipeline


def by_diffusers(plain: Any, runs: list[Run]) -> torch.Tensor:
    """Latents of these attempts, equal but for words, seeds and inputs, by one call of diffusers' pipeline."""
    first, count = runs[0], len(runs)
    kinds: dict[str, Any] = {
        TEXT_TO_IMAGE: diffusers.StableDiffusionPipeline,
        IMAGE_TO_IMAGE: diffusers.StableDiffusionImg2ImgPipeline,
        INPAINT: diffusers.StableDiffusionInpaintPipeline,
    }
    parts = plain.components | {"scheduler": schedulers.KINDS[first.scheduler].of(plain.scheduler.config)}
    theirs = kinds[first.task](**parts, requires_safety_checker=False)
    theirs.set_progress_bar_config(disable=True)
    whole = first.skip + first.steps
    asked: dict[str, Any] = {"prompt": [run.prompt for run in runs], "num_inference_steps": whole}
    asked |= {"guidance_scale": first.guidance_milli / 1000, "output_type": "latent"}
    asked["generator"] = [torch.Generator("cpu").manual_seed(run.seed) for run in runs]
    if first.task != TEXT_TO_IMAGE:
        asked["image"] = [drawn(run.seed) for run in runs]
        asked["strength"] = min(1.0, (first.steps + 0.5) / whole)
    if first.task == INPAINT:
        asked["mask_image"] = [mask(run.seed) for run in runs]
    if first.task != IMAGE_TO_IMAGE:
        asked |= {"width": 64, "height": 64}
    if count == 1:
        asked = {name: value[0] if isinstance(value, list) else value for name, value in asked.items()}
    latents: torch.Tensor = theirs(**asked).images
    return latents


def order(demo: Any, task: str, scheduler: str, seed: int, **changes: Any) -> tuple[Run, list[bytes]]:
    """An attempt at one picture, and its inputs."""
    made = {IMAGE: as_png(drawn(seed)), MASK: as_png(mask(seed))}
    inputs = [made[kind] for kind in TASKS[task]]
    refs = tuple(InputRef(kind, hashlib.sha256(made[kind]).digest(), len(made[kind])) for kind in TASKS[task])
    settings = {"steps": STEPS, "skip": SKIP if IMAGE in TASKS[task] else 0, "prompt": WORDS[seed % 3]} | changes
    return demo.run(task=task, scheduler=scheduler, seed=seed, inputs=refs, **settings), inputs


@torch.no_grad()
def by_us(pipeline: Any, ordered: list[tuple[Run, list[bytes]]]) -> list[torch.Tensor]:
    """Latents of these attempts, side by side in our loop."""
    words = Words(CPU)
    made = [rows.begin(pipeline, run, 0, words.of(pipeline, run), CPU, inputs) for run, inputs in ordered]
    while going := [row for row in made if not row.is_done]:
        rows.advance(pipeline.unet, going)
    return [row.latents for row in made]


@pytest.mark.parametrize(("task", "scheduler"), ALL)
def test_alone_it_is_diffusers_own_to_the_bit(pipeline: Any, plain: Any, demo: Any, task: str, scheduler: str) -> None:
    ordered = order(demo, task, scheduler, 5)
    [ours] = by_us(pipeline, [ordered])
    assert torch.equal(ours, by_diffusers(plain, [ordered[0]]))


@pytest.mark.parametrize(("task", "scheduler"), ALL)
def test_in_company_it_is_within_the_tolerance(pipeline: Any, plain: Any, demo: Any, task: str, scheduler: str) -> None:
    ordered = [order(demo, task, scheduler, seed) for seed in (6, 7, 8)]
    theirs = by_diffusers(plain, [run for run, _ in ordered])
    for ours, wanted in zip(by_us(pipeline, ordered), theirs, strict=True):
        assert difference(ours[0], wanted) < TOLERANCE


@pytest.mark.parametrize("task", [IMAGE_TO_IMAGE, INPAINT])
def test_with_nothing_skipped_it_is_full_strength(pipeline: Any, plain: Any, demo: Any, task: str) -> None:
    for scheduler in ("ddim", "euler"):
        ordered = order(demo, task, scheduler, 5, skip=0)
        assert torch.equal(by_us(pipeline, [ordered])[0], by_diffusers(plain, [ordered[0]]))


def test_tasks_share_a_call(pipeline: Any, demo: Any) -> None:
    names = zip(TASKS, ("unipc", "ddim", "euler"), strict=True)
    ordered = [order(demo, task, name, 5 + number) for number, (task, name) in enumerate(names)]
    for ours, one in zip(by_us(pipeline, ordered), ordered, strict=True):
        assert difference(ours, by_us(pipeline, [one])[0]) < TOLERANCE


@torch.no_grad()
def test_pictures_decoded_together_are_those_decoded_alone(pipeline: Any, demo: Any) -> None:
    ordered = [order(demo, TEXT_TO_IMAGE, "ddim", seed, steps=2) for seed in range(3)]
    words = Words(CPU)
    made = [rows.begin(pipeline, run, 0, words.of(pipeline, run), CPU, inputs) for run, inputs in ordered]
    for _ in range(2):
        rows.advance(pipeline.unet, made)
    made[1].latents[0, 0, 0, 0] = float("nan")
    together = diffusion.finish(pipeline, made)
    assert together[1] is None, "what is no picture spoils no other"
    for row, picture in zip((made[0], made[2]), (together[0], together[2]), strict=True):
        [alone] = diffusion.finish(pipeline, [row])
        assert alone is not None
        assert picture is not None
        assert np.abs(np.asarray(alone).astype(int) - np.asarray(picture).astype(int)).max() <= 1


@pytest.mark.parametrize("task", list(TASKS))
def test_a_seed_is_the_same_picture_alone_and_in_a_count_of_eight(
    warm: Any, demo: Any, pictures: Any, task: str
) -> None:
    many, inputs = order(demo, task, "euler_ancestral", 5, steps=2, count=8)
    eight = pictures(warm.run(many, *inputs))
    assert len(set(eight.png.values())) == 8
    for picture in (0, 3, 7):
        alone = pictures(warm.run(replace(many, attempt=bytes([picture]) * 16, seed=5 + picture, count=1), *inputs))
        assert (alone.png[0], alone.leaves[0]) == (eight.png[picture], eight.leaves[picture])


def test_outside_the_mask_the_given_picture_stays(warm: Any, demo: Any, pictures: Any) -> None:
    seed, left = 5, np.zeros((64, 64), np.uint8)
    left[:, 32:] = 255
    data = [as_png(drawn(seed)), as_png(Image.fromarray(left))]
    refs = [InputRef(k, hashlib.sha256(d).digest(), len(d)) for k, d in zip((IMAGE, MASK), data, strict=True)]
    run = demo.run(task=INPAINT, inputs=tuple(refs), steps=6, prompt=WORDS[1])
    made = np.asarray(Image.open(io.BytesIO(pictures(warm.run(run, *data)).png[0]))).astype(int)
    gap = np.abs(made - np.asarray(drawn(seed)).astype(int)).mean((0, 2))
    assert gap[:28].mean() < 20, "what the decoder makes of what was kept"
    assert gap[36:].mean() > 2 * gap[:28].mean()


def test_a_new_task_is_a_file_and_a_line(pipeline: Any, demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that CONTRIBUTING.md shows."""
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    [code] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "A picture mirrored" in block]
    file = ModuleType("gpufair.provider.inference.tasks.mirror")
    exec(compile(code, "mirror.py", "exec"), file.__dict__)
    monkeypatch.setitem(sys.modules, file.__name__, file)
    monkeypatch.setitem(TASKS, "mirror", (IMAGE,))
    given, whole = drawn(4), {"steps": 1, "skip": 19, "guidance_milli": 1000}
    run, inputs = order(demo, "mirror", "ddim", 4, **whole)
    refuse_bad(run)
    with torch.no_grad():
        row = rows.begin(pipeline, run, 0, Words(CPU).of(pipeline, run), CPU, inputs)
        rows.advance(pipeline.unet, [row])
        [picture] = diffusion.finish(pipeline, [row])
    mirrored, same = np.asarray(given)[:, ::-1].astype(int), np.asarray(given).astype(int)
    assert 2 * np.abs(np.asarray(picture) - mirrored).mean() < np.abs(np.asarray(picture) - same).mean()


GOOD = as_png(drawn(1))


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return png.SIGNATURE + chunk(b"IHDR", sizes + bytes([bits, colour, 0, 0, 0]))


BOMB = header(64, 64) + chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**26))) + GOOD[33:]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes is no PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "no PNG"),
        (b"RIFF\x10\0\0\0WEBP" + bytes(100), "no PNG"),
        (GOOD[:20], "20 bytes is no PNG"),
        (GOOD[: len(GOOD) // 2], "can't be unpacked"),
        (GOOD[:33], "can't be unpacked"),
        (GOOD[:200] + bytes([GOOD[200] ^ 1]) + GOOD[201:], "can't be unpacked"),
        (header(100_000, 100_000), "100000 by 100000 pixels, the job 64 by 64"),
        (BOMB, "can't be unpacked"),
        (as_png(drawn(1).resize((64, 56))), "64 by 56 pixels"),
        (as_png(drawn(1).convert("P")), "8 bits of a palette, it must have 8 of RGB"),
        (as_png(drawn(1).convert("RGBA")), "RGB with transparency"),
        (as_png(drawn(1).convert("L")), "8 bits of grey, it must have 8 of RGB"),
        (as_png(Image.new("I;16", (64, 64))), "16 bits of grey"),
        (header(64, 64, 16) + GOOD[33:], "16 bits of RGB"),
        (png.SIGNATURE + chunk(b"IDAT", bytes(20)), "without a header"),
    ],
)
def test_a_picture_that_is_not_as_it_should_be_is_refused_with_its_numbers(data: bytes, said: str) -> None:
    with pytest.raises(RefusedError, match=said) as caught:
        png.decode(data, IMAGE, 64, 64)
    assert caught.value.code is FailCode.BAD_REQUEST


def test_a_good_one_is_its_pixels_and_a_mask_is_grey() -> None:
    assert np.array_equal(np.asarray(png.decode(GOOD, IMAGE, 64, 64)), np.asarray(drawn(1)))
    assert png.decode(as_png(mask(1)), MASK, 64, 64).mode == "L"
    with pytest.raises(RefusedError, match="the mask has 8 bits of RGB, it must have 8 of grey"):
        png.decode(GOOD, MASK, 64, 64)


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        (TEXT_TO_IMAGE, {"skip": 3}, "3 steps are skipped"),
        (IMAGE_TO_IMAGE, {"skip": 499}, "499 + 4 steps, the limit is 500"),
        (IMAGE_TO_IMAGE, {"skip": 2**32 - 1}, "the limit is 500"),
        (IMAGE_TO_IMAGE, {"steps": 0}, "steps is 0"),
        (INPAINT, {"steps": 10**9}, "1000000000"),
        (IMAGE_TO_IMAGE, {"inputs": ()}, "the inputs are none; image_to_image here needs image"),
        (TEXT_TO_IMAGE, {"task": "upscale"}, "'upscale'"),
        (INPAINT, {"task": TEXT_TO_IMAGE, "skip": 0}, "the inputs are image, mask; text_to_image here needs none"),
        (INPAINT, {"width": 72}, "64 by 64 pixels, the job 72 by 64"),
    ],
)
def test_an_order_that_can_not_be_is_refused_with_its_number(
    warm: Any, demo: Any, task: str, changes: dict[str, Any], said: str
) -> None:
    run, inputs = order(demo, task, "ddim", 5)
    run = replace(run, **changes)
    failed = warm.run(run, *inputs[: len(run.inputs)])[-1]
    assert isinstance(failed, Failed)
    assert failed.code is FailCode.BAD_REQUEST
    assert said in failed.message


def difference(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((ours - wanted).norm() / wanted.norm())
