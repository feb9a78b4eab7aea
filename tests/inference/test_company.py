"""Attempts at one worker at once: who shares, who doesn't, and that one's end is nobody else's."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from gpufair.protocol.frames import (
    Accepting,
    Cancel,
    Done,
    FailCode,
    Failed,
    FromWorker,
    Load,
    Loaded,
    LoadFailed,
    Run,
    Step,
)
from gpufair.provider.inference import weights
from gpufair.provider.inference.adapters import Patch
from gpufair.provider.inference.batcher import Batcher
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.models.store import ModelStore


def all_of(warm: Any, runs: list[Run]) -> list[FromWorker]:
    """Every frame until each of the attempts has ended."""
    for run in runs:
        warm.send(run)
    got: list[FromWorker] = []
    for _ in runs:
        got += warm.until(Done, Failed)
    return got


def of(got: list[FromWorker], run: Run) -> list[FromWorker]:
    return [frame for frame in got if getattr(frame, "attempt", None) == run.attempt]


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def test_attempts_that_share_go_on_together_and_stay_themselves(warm: Any, demo: Any, pictures: Any) -> None:
    words = ("a fox on a green background", "a red apple", "a panda on a pink background")
    runs = [demo.run(prompt=w, seed=n, steps=16 + n, precision="single") for n, w in enumerate(words)]
    got = all_of(warm, runs)
    # The first goes on alone until the worker has read of the others; from then until it is done they are together.
    began = max(place for place, frame in enumerate(got) if isinstance(frame, Accepting))
    together = got[began : got.index(Done(runs[0].attempt))]
    order = [frame.attempt for frame in together if isinstance(frame, Step) and frame.step]
    turns = [order[i : i + 3] for i in range(0, len(order) - 2, 3)]
    assert len(turns) > 3
    assert all(len(set(turn)) == 3 for turn in turns), "a step of each in turn"
    for run in runs:
        mine = of(got, run)
        assert isinstance(mine[0], Accepting)
        assert isinstance(mine[-1], Done)
        alone = pictures(warm.run(demo.run(prompt=run.prompt, seed=run.seed, steps=run.steps)))
        ours = pictures(mine)
        assert np.abs(pixels(ours.png[0]) - pixels(alone.png[0])).max() <= 1
        assert len(ours.leaves[0]) == run.steps + 1
        assert ours.leaves[0][0] == alone.leaves[0][0], "the noise is the seed's, whatever the class"


def test_an_exact_attempt_keeps_its_bits_whoever_is_there(warm: Any, demo: Any, pictures: Any) -> None:
    exact = demo.run(seed=8, steps=4)
    alone = pictures(warm.run(demo.run(seed=8, steps=4)))
    others = [demo.run(seed=n, steps=6, precision="single") for n in (1, 2)]
    got = all_of(warm, [others[0], exact, others[1]])
    mine = pictures(of(got, exact))
    assert (mine.png, mine.leaves) == (alone.png, alone.leaves)
    assert all(isinstance(of(got, run)[-1], Done) for run in others)


def test_the_one_that_came_first_is_never_overtaken_for_good(warm: Any, demo: Any) -> None:
    """An exact attempt among many that share: it gets its turn when those before it are done."""
    early = [demo.run(seed=n, steps=3, precision="single") for n in range(2)]
    exact, late = demo.run(seed=5, steps=3), [demo.run(seed=9 + n, steps=30, precision="single") for n in range(3)]
    got = all_of(warm, [*early, exact, *late])
    ends = [frame.attempt for frame in got if isinstance(frame, Done)]
    assert ends.index(exact.attempt) < min(ends.index(run.attempt) for run in late)


def test_cancelling_one_leaves_the_others(warm: Any, demo: Any) -> None:
    keeps, goes = demo.run(steps=8, precision="single"), demo.run(steps=400, seed=2, precision="single")
    warm.send(goes)
    warm.until(Step)
    warm.send(keeps)
    warm.send(Cancel(goes.attempt))
    got = warm.until(Done, Failed)
    got += warm.until(Done, Failed)
    [failed] = [frame for frame in got if isinstance(frame, Failed)]
    assert (failed.attempt, failed.code) == (goes.attempt, FailCode.CANCELLED)
    assert Done(keeps.attempt) in got


@torch.no_grad()
def test_a_cancel_ends_its_attempt_before_another_step(demo: Any) -> None:
    """In this process, so that the moment is exact, whoever shares the step."""
    torch.set_num_threads(1)
    where = torch.device("cpu")
    pipeline = weights.load(Path(demo.path), demo.digest, where)[0]
    for precision in ("exact", "single"):
        goes, keeps = (demo.run(steps=6, seed=n, precision=precision) for n in range(2))
        told: list[FromWorker] = []
        wish: list[Cancel] = []
        batcher = Batcher(where)
        batcher.admit(pipeline, Patch(), goes, (), told.append, lambda wish=wish: bool(wish))
        batcher.admit(pipeline, Patch(), keeps, (), told.append, lambda: False)
        batcher.advance()
        batcher.advance()
        wish.append(Cancel(goes.attempt))
        before = sum(isinstance(frame, Step) for frame in of(told, goes))
        [(attempt, err)] = batcher.advance()
        assert isinstance(err, RefusedError)
        assert (attempt, err.code) == (goes.attempt, FailCode.CANCELLED)
        assert sum(isinstance(frame, Step) for frame in of(told, goes)) == before
        while batcher.is_busy:
            ended = batcher.advance()
        assert ended == [(keeps.attempt, None)]


@pytest.mark.parametrize("file", ["unet", "vae"])
def test_numbers_that_are_not_finite_are_never_a_picture(
    spare: Any, demo: Any, pictures: Any, tmp_path: Path, file: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(demo.path, broken)
    numbers = broken / file / "diffusion_pytorch_model.safetensors"
    numbers.chmod(0o644)
    tensors = load_file(numbers)
    name = "conv_out.bias" if file == "unet" else "decoder.conv_out.bias"
    tensors[name][0] = float("nan")
    save_file(tensors, numbers, {"format": "pt"})
    store = ModelStore(tmp_path / "store")
    digest = store.add(broken).digest
    spare.send(Load(digest, str(store.path(digest))))
    assert isinstance(spare.until(Loaded, LoadFailed)[-1], Loaded)
    got = spare.run(demo.run(model=digest, steps=1, preview_every=1))
    assert isinstance(got[-1], Failed)
    assert (got[-1].code, "not finite" in got[-1].message) == (FailCode.INTERNAL, True)
    assert not pictures(got).ends
    assert isinstance(spare.run(demo.run(steps=1))[-1], Done), "the worker lives on"


def test_pictures_of_one_attempt_come_in_order_beside_others(warm: Any, demo: Any, pictures: Any) -> None:
    many, one = demo.run(count=3, steps=2, precision="single"), demo.run(seed=77, steps=9, precision="single")
    got = all_of(warm, [many, one])
    assert [end.picture for end in pictures(of(got, many)).ends] == [0, 1, 2]
    assert [end.picture for end in pictures(of(got, one)).ends] == [0]


def test_an_attempt_that_is_under_way_is_not_taken_twice(warm: Any, demo: Any) -> None:
    run = demo.run(steps=30)
    warm.send(run)
    warm.send(run)
    got = warm.until(Failed)
    assert got[-1].code is FailCode.BAD_REQUEST
    assert isinstance(warm.until(Done, Failed)[-1], Done)
