"""The pictures of docs/tasks.md: made here by a real worker, and compared with those that are shown.

`script/tasks` makes them anew. They are shown three times as large as they are, each pixel a square.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gpufair.protocol.adapters import FILE
from gpufair.protocol.frames import (
    ADAPTER,
    IMAGE_TO_IMAGE,
    INPAINT,
    MODEL,
    TEXT_TO_IMAGE,
    Adapter,
    Done,
    InputRef,
    Load,
    Loaded,
    LoadFailed,
)
from gpufair.provider.inference.tasks import TASKS
from gpufair.provider.models.store import ModelStore

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
SHOWN = PAGE.parent / "pictures"
SHIPPED = Path(str(files("gpufair.provider.models")))
MAKE_ANEW = "GPUFAIR_MAKE_PICTURES" in os.environ
TIMES, SIDE = 3, 64
SCHEDULERS = ("ddim", "euler", "euler_ancestral", "dpmpp_2m", "unipc")


@dataclass(frozen=True)
class Case:
    """A row of the page: what is asked for, and the pictures that it begins from."""

    name: str
    task: str
    prompt: str
    seed: int = 1
    steps: int = 20
    skip: int = 0
    begins: tuple[str, ...] = ()
    pencil_milli: int = 0
    pipeline: str = "StableDiffusionPipeline"


CASES = (
    Case("text", TEXT_TO_IMAGE, "a fox on a green background"),
    Case("image", IMAGE_TO_IMAGE, "a fox on a green background", 3, 10, 10, ("sketch",)),
    Case("inpaint", INPAINT, "a panda on a green background", begins=("text-ddim", "right")),
    Case("outpaint", INPAINT, "a panda on a pink background", begins=("half", "right")),
)
HOUSE, TREE = "a house on a black background", "a tree on a pink background"
ONCE = (
    *(Case(f"house-pencil{milli}", TEXT_TO_IMAGE, HOUSE, 12, pencil_milli=milli) for milli in (0, 500, 1000)),
    *(Case(f"tree-pencil{milli}", TEXT_TO_IMAGE, TREE, 16, pencil_milli=milli) for milli in (0, 500, 1000)),
    Case("stranger", TEXT_TO_IMAGE, CASES[0].prompt, pipeline="AltDiffusionPipeline"),
)
"""Shown with the model's own scheduler alone, which is DDIM."""
EACH = [*((case, scheduler) for case in CASES for scheduler in SCHEDULERS), *((case, "") for case in ONCE)]


def name_of(case: Case, scheduler: str) -> str:
    return f"{case.name}-{scheduler}" if scheduler else case.name


def show(name: str, picture: Image.Image) -> None:
    picture.resize((picture.width * TIMES, picture.height * TIMES), Image.Resampling.NEAREST).save(
        SHOWN / f"{name}.png", optimize=True
    )


def shown(name: str) -> Image.Image:
    """A picture of the page in its own size."""
    return Image.fromarray(np.asarray(Image.open(SHOWN / f"{name}.png"))[::TIMES, ::TIMES])


def sketch() -> Image.Image:
    """Three shapes in two colours on green: what a child would draw for a fox."""
    picture = Image.new("RGB", (SIDE, SIDE), (70, 175, 95))
    draw = ImageDraw.Draw(picture)
    face = [(32, 60), (6, 40), (10, 10), (24, 22), (40, 22), (54, 10), (58, 40)]
    draw.polygon(face, fill=(240, 110, 20))
    for left in (20, 38):
        draw.ellipse((left, 34, left + 6, 40), fill=(0, 0, 0))
    return picture


def right() -> Image.Image:
    """A mask: the right half is made anew."""
    picture = Image.new("L", (SIDE, SIDE), 0)
    picture.paste(255, (SIDE // 2, 0, SIDE, SIDE))
    return picture


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """The models and the LoRA that are shipped, and the demo model in the disguise of a stranger."""
    root = tmp_path_factory.mktemp("gallery")
    kept = ModelStore(root / "store")
    kept.add(SHIPPED / "demo", name="StableDiffusionPipeline")
    kept.add_adapter(SHIPPED / "demo_lora" / FILE, name="pencil")
    stranger = root / "stranger"
    shutil.copytree(SHIPPED / "demo", stranger)
    index = json.loads((stranger / "model_index.json").read_text())
    (stranger / "model_index.json").write_text(json.dumps(index | {"_class_name": "AltDiffusionPipeline"}))
    kept.add(stranger, name="AltDiffusionPipeline")
    return kept


def loaded(warm: Any, store: ModelStore, name: str) -> bytes:
    """What is called so, in the worker's memory; its digest."""
    [one] = [one for one in store.everything() if one.name == name]
    warm.send(Load(one.digest, str(store.path(one.digest)), ADAPTER if name == "pencil" else MODEL))
    assert isinstance(warm.until(Loaded, LoadFailed)[-1], Loaded)
    return one.digest


def made(warm: Any, demo: Any, store: ModelStore, pictures: Any, case: Case, scheduler: str) -> Image.Image:
    model, pencil = loaded(warm, store, case.pipeline), loaded(warm, store, "pencil")
    inputs, refs = [], []
    for kind, name in zip(TASKS[case.task], case.begins, strict=True):
        out = io.BytesIO()
        shown(name).save(out, "PNG")
        inputs.append(out.getvalue())
        refs.append(InputRef(kind, hashlib.sha256(inputs[-1]).digest(), len(inputs[-1])))
    asked = {"prompt": case.prompt, "seed": case.seed, "steps": case.steps, "skip": case.skip}
    asked |= {"model": model, "adapters": (Adapter(pencil, case.pencil_milli),)}
    run = demo.run(task=case.task, scheduler=scheduler, guidance_milli=2500, inputs=tuple(refs), **asked)
    got = warm.run(run, *inputs)
    assert isinstance(got[-1], Done), got[-1]
    return Image.open(io.BytesIO(pictures(got).png[0]))


@pytest.fixture(scope="module", autouse=True)
def begun(shared: Any, demo: Any, store: ModelStore, pictures: Any) -> None:
    """The pictures that others begin from."""
    if MAKE_ANEW:
        SHOWN.mkdir(exist_ok=True)
        show("sketch", sketch())
        show("right", right())
        panda = made(shared, demo, store, pictures, Case("panda", TEXT_TO_IMAGE, CASES[3].prompt), "ddim")
        canvas = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
        canvas.paste(panda.crop((0, 0, SIDE // 2, SIDE)), (0, 0))
        show("half", canvas)


@pytest.mark.parametrize(("case", "scheduler"), EACH, ids=lambda value: getattr(value, "name", value))
def test_the_page_shows_what_a_worker_makes(
    warm: Any, demo: Any, store: ModelStore, pictures: Any, case: Case, scheduler: str
) -> None:
    picture, name = made(warm, demo, store, pictures, case, scheduler), name_of(case, scheduler)
    if MAKE_ANEW:
        show(name, picture)
    gap = np.abs(np.asarray(picture).astype(int) - np.asarray(shown(name)).astype(int))
    assert gap.max() <= 3, "another machine's last bits may round another way"
    assert gap.mean() < 0.1


def test_the_pages_show_every_picture_and_no_other() -> None:
    page = set(re.findall(r"pictures/([\w-]+\.png)", PAGE.read_text()))
    assert {f"{name_of(case, scheduler)}.png" for case, scheduler in EACH} <= page
    pages = "".join(one.read_text() for one in (*PAGE.parent.glob("*.md"), PAGE.parents[1] / "README.md"))
    assert {path.name for path in SHOWN.glob("*.png")} == set(re.findall(r"pictures/([\w-]+\.png)", pages))


def test_a_stranger_draws_what_our_loop_draws_from_the_same_parts() -> None:
    assert (SHOWN / "stranger.png").read_bytes() == (SHOWN / "text-ddim.png").read_bytes()
