"""Families that we have no loop for: their own pipeline draws, step by step, as any other attempt at a worker."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import lora
import numpy as np
import pytest
import strangers
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from gpufair.protocol import frames, trace
from gpufair.protocol.content import FileDigest, model_digest
from gpufair.protocol.frames import (
    ADAPTER,
    Cancel,
    Done,
    FailCode,
    Failed,
    Input,
    InputRef,
    Load,
    Loaded,
    LoadFailed,
    Preview,
    Replay,
    Replayed,
    Run,
    State,
    Step,
)
from gpufair.protocol.limits import OUTPUT_CHUNK
from gpufair.provider.models.store import ModelStore

FAMILIES = ("sdxl", "pixart")
WORDS = {"prompt": "a fox", "steps": 3, "guidance_milli": 3000, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, bytes, Path]]:
    """A tiny model of each family: its pipeline, its digest, its folder in a store."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("strangers")
    store = ModelStore(root / "store")
    found = {}
    for name in FAMILIES:
        pipeline = getattr(strangers, name)()
        digest = store.add(strangers.write(pipeline, root / name)).digest
        pipeline.set_progress_bar_config(disable=True)
        found[name] = pipeline, digest, store.path(digest)
    return found


@pytest.fixture
def order(warm: Any, made: Any) -> Any:
    """Makes a run of a family's tiny model, which the shared worker has in memory then."""

    def run(name: str, **changes: Any) -> Run:
        _pipeline, digest, path = made[name]
        warm.send(Load(digest, str(path)))
        assert isinstance(warm.until(Loaded, LoadFailed)[-1], Loaded)
        return Run(os.urandom(16), digest, **(WORDS | {"seed": 5} | changes))

    return run


def plain(pipeline: Any, run: Run) -> tuple[bytes, list[bytes]]:
    """The pixels that the plain pipeline makes, and the leaves of the latents that its steps take and give."""
    seen: list[torch.Tensor] = []

    def look(pipe: Any, step: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        seen.append(kept["latents"])
        return kept

    settings = {"num_inference_steps": run.steps, "height": run.height, "width": run.width}
    settings |= {"guidance_scale": run.guidance_milli / 1000, "generator": torch.Generator().manual_seed(run.seed)}
    if isinstance(pipeline, diffusers.StableDiffusionXLPipeline):
        settings |= {"callback_on_step_end": look}
    else:
        settings |= {"callback": lambda step, timestep, latents: seen.append(latents), "use_resolution_binning": False}
        settings |= {"clean_caption": False}
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    picture = pipeline(run.prompt, **settings).images[0]
    leaves = [trace.leaf(n, latents.numpy().astype("<f4").tobytes()) for n, latents in enumerate(seen, 1)]
    return np.asarray(picture).tobytes(), leaves


def pixels(png: bytes) -> bytes:
    return np.asarray(Image.open(io.BytesIO(png))).tobytes()


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_and_leaves_are_the_plain_pipelines(
    warm: Any, order: Any, made: Any, pictures: Any, name: str
) -> None:
    run = order(name)
    got = warm.run(run)
    assert isinstance(got[-1], Done)
    ours = pictures(got)
    picture, leaves = plain(made[name][0], run)
    assert pixels(ours.png[0]) == picture
    assert ours.leaves[0][1:] == leaves
    assert len(ours.leaves[0]) == run.steps + 1
    assert ours.ends[0].trace_root == trace.root(ours.leaves[0])


def test_what_is_told_of_a_step_are_its_latents(warm: Any, order: Any) -> None:
    got = warm.run(order("sdxl", trace=True, preview_every=1))
    latents = 4 * 32 * 32 * 4
    states = [frame for frame in got if isinstance(frame, State)]
    steps = [frame for frame in got if isinstance(frame, Step)]
    for step in steps:
        state = b"".join(frame.data for frame in states if frame.step == step.step)
        assert len(state) == latents
        assert step.leaf == trace.leaf(step.step, state)
    assert not [frame for frame in got if isinstance(frame, Preview)], "it gives none"


def test_the_next_picture_of_a_job_is_its_seeds(warm: Any, order: Any, pictures: Any) -> None:
    both = pictures(warm.run(order("pixart", count=2)))
    alone = pictures(warm.run(order("pixart", seed=6)))
    assert both.png[1] == alone.png[0]
    assert both.png[0] != both.png[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_it_stops_between_two_steps(warm: Any, order: Any, name: str) -> None:
    run = order(name, steps=300)
    warm.send(run)
    warm.until(Step)
    warm.send(Cancel(run.attempt))
    got = warm.until(Done, Failed)
    assert (type(got[-1]), got[-1].code) == (Failed, FailCode.CANCELLED)
    assert len([frame for frame in got if isinstance(frame, Step)]) < 299
    assert isinstance(warm.run(order(name))[-1], Done), "and leaves nothing behind"


def test_it_never_shares_and_changes_nobodys_bits(warm: Any, order: Any, demo: Any, pictures: Any) -> None:
    runs = [order("sdxl", precision="single"), order("sdxl", precision="single", seed=6), demo.run(precision="single")]
    alone = [pictures(warm.run(run)).png[0] for run in runs]
    again = [replace(run, attempt=os.urandom(16)) for run in runs]
    for run in again:
        warm.send(run)
    got = [frame for _ in again for frame in warm.until(Done, Failed)]
    for run, png in zip(again, alone, strict=True):
        mine = pictures([frame for frame in got if getattr(frame, "attempt", None) == run.attempt])
        assert mine.png[0] == png
    order_of_steps = [frame.attempt for frame in got if isinstance(frame, Step) and frame.step]
    assert order_of_steps[: runs[0].steps] == [again[0].attempt] * runs[0].steps, "the oldest goes on"


def given(kind: str, data: bytes, step: int = 0) -> InputRef:
    return InputRef(kind, hashlib.sha256(data).digest(), len(data), step)


def test_what_it_can_not_do_is_refused(warm: Any, order: Any) -> None:
    png, state = io.BytesIO(), b"\0" * 4 * 4 * 32 * 32
    Image.new("RGB", (64, 64)).save(png, "PNG")
    image = png.getvalue()
    asked: list[tuple[Run, list[bytes], str]] = [
        (order("sdxl", scheduler="ddim"), [], "ddim"),
        (order("sdxl", task="image_to_image", inputs=(given("image", image),), skip=1), [image], "image_to_image"),
        (order("sdxl", first_step=1, inputs=(given("state", state, 1),)), [state], "part of the steps"),
    ]
    for run, inputs, said in asked:
        failed = warm.run(run, *inputs)[-1]
        assert (type(failed), failed.code) == (Failed, FailCode.BAD_REQUEST)
        assert said in failed.message


def test_no_step_of_it_is_replayed(warm: Any, order: Any, pictures: Any) -> None:
    """Its states are its latents alone, so that a step done again from them would accuse the honest."""
    run = order("sdxl", trace=True)
    got = warm.run(run)
    states = [b"".join(f.data for f in got if isinstance(f, State) and f.step == n) for n in range(run.steps + 1)]
    shown = [*states, pictures(got).png[0]]
    refs = [given("state", data, step) for step, data in enumerate(states)] + [given("picture", shown[-1])]
    again = replace(run, attempt=os.urandom(16), inputs=tuple(refs), trace=False)
    for index, data in enumerate(shown):
        for offset in range(0, len(data), OUTPUT_CHUNK):
            piece = data[offset : offset + OUTPUT_CHUNK]
            warm.send(Input(again.attempt, index, offset, len(data), piece))
    warm.send(Replay(again, 1))
    failed = warm.until(Replayed, Failed)[-1]
    assert (type(failed), failed.code) == (Failed, FailCode.BAD_REQUEST)
    assert "no replay" in failed.message


def disguised(demo: Any, root: Path, name: str) -> tuple[bytes, str]:
    """The demo model, whose index names another pipeline."""
    store = ModelStore(root / "store")
    digest = store.add(changed(Path(demo.path), root / name, _class_name=name)).digest
    return digest, str(store.path(digest))


def test_one_that_changes_its_parts_while_it_draws_is_refused_and_they_are_put_back(
    warm: Any, demo: Any, pictures: Any, tmp_path: Path
) -> None:
    """The demo model's denoiser is in memory once, for both."""
    before = pictures(warm.run(demo.run())).leaves
    digest, path = disguised(demo, tmp_path, "StableDiffusionPAGPipeline")
    warm.send(Load(digest, path))
    assert isinstance(warm.until(Loaded, LoadFailed)[-1], Loaded)
    failed = warm.run(demo.run(model=digest))[-1]
    assert (type(failed), failed.code) == (Failed, FailCode.MODEL_BAD)
    assert "changes its own parts" in failed.message
    assert pictures(warm.run(demo.run())).leaves == before


def test_a_scheduler_that_does_other_steps_than_asked_is_refused_with_both_numbers(warm: Any, tmp_path: Path) -> None:
    pipeline = strangers.sdxl()
    pipeline.scheduler = diffusers.HeunDiscreteScheduler()
    digest, path = stored(tmp_path, pipeline)
    warm.send(Load(digest, str(path)))
    assert isinstance(warm.until(Loaded, LoadFailed)[-1], Loaded)
    failed = warm.run(Run(os.urandom(16), digest, seed=1, **WORDS))[-1]
    assert (type(failed), failed.code) == (Failed, FailCode.BAD_REQUEST)
    assert "HeunDiscreteScheduler would do 5 steps instead of 3" in failed.message


def stored(root: Path, pipeline: Any) -> tuple[bytes, Path]:
    store = ModelStore(root / "store")
    digest = store.add(strangers.write(pipeline, root / "model")).digest
    return digest, store.path(digest)


def refused(warm: Any, folder: Path) -> str:
    """What the worker says to a folder that is no model for it; the store has not looked at it."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    found = [FileDigest(f.relative_to(folder).as_posix(), f.stat().st_size, sha256(f)) for f in files]
    warm.send(Load(model_digest(found), str(folder)))
    failed = warm.until(Loaded, LoadFailed)[-1]
    assert (type(failed), failed.code) == (LoadFailed, FailCode.MODEL_BAD)
    return str(failed.message)


def sha256(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def changed(source: Path, target: Path, **entries: Any) -> Path:
    """A copy of a model with other entries in its index."""
    shutil.copytree(source, target, copy_function=shutil.copy)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755)
    index = json.loads((target / "model_index.json").read_text())
    (target / "model_index.json").write_text(json.dumps(index | entries))
    return target


def test_a_folder_is_believed_in_nothing(warm: Any, made: Any, tmp_path: Path) -> None:
    """Neither a class of its own nor code nor pickles nor weights that aren't there."""
    path = made["sdxl"][2]
    for n, (name, said) in enumerate(
        [
            ("NobodysPipeline", "NobodysPipeline"),
            ("UNet2DConditionModel", "no pipeline"),
            ("StableDiffusionXLImg2ImgPipeline", "makes no picture out of words alone"),
            ("TextToVideoSDPipeline", "makes no picture out of words alone"),
            ("StableDiffusionInpaintPipeline", "mask_image"),
        ]
    ):
        assert said in refused(warm, changed(path, tmp_path / str(n), _class_name=name))

    code = changed(path, tmp_path / "code", unet=["my_unet", "Unet"])
    planted = tmp_path / "it_ran"
    (code / "unet" / "my_unet.py").write_text(f"open({str(planted)!r}, 'w')\nclass Unet: ...")
    assert "unet is no part" in refused(warm, code)
    assert not planted.exists()

    pickled = changed(path, tmp_path / "pickled")
    weights = pickled / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({"a": torch.zeros(1)}, pickled / "unet" / "diffusion_pytorch_model.bin")
    weights.unlink()
    refused(warm, pickled)

    lacking = changed(path, tmp_path / "lacking")
    weights = lacking / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors.pop("conv_out.weight")
    save_file(tensors, weights, {"format": "pt"})
    assert "unet lacks 1 of its weights" in refused(warm, lacking)


def test_loras_change_it_as_they_change_any_model(
    warm: Any, order: Any, made: Any, pictures: Any, tmp_path: Path
) -> None:
    pipeline = made["sdxl"][0]
    attention = "unet:mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
    places = (attention, "text_encoder_2:text_model.encoder.layers.0.mlp.fc1")
    change = {}
    for place in places:
        own = lora.weight(pipeline, place)
        change[place] = torch.randn(own.shape[0], 2), torch.randn(2, own.shape[1])
    digest = lora.write(tmp_path / "lora", lora.peft(change))
    run = order("sdxl", adapters=(frames.Adapter(digest, 1000),))
    warm.send(Load(digest, str(tmp_path / "lora"), ADAPTER))
    warm.until(Loaded, LoadFailed)
    ours = pictures(warm.run(run))
    before = plain(pipeline, run)[0]
    kept = {place: lora.weight(pipeline, place).detach().clone() for place in places}
    for place, (up, down) in change.items():
        lora.weight(pipeline, place).data += up @ down
    merged = plain(pipeline, run)[0]
    for place, own in kept.items():
        lora.weight(pipeline, place).data = own
    assert pixels(ours.png[0]) == merged
    assert merged != before
    assert pixels(pictures(warm.run(order("sdxl"))).png[0]) == before
