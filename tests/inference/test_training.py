"""The training scripts really run: every stage for a few steps, and out comes what can be sold."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from gpufair.protocol.frames import ADAPTER, Adapter, Done, Load, Loaded, LoadFailed
from gpufair.provider.models.store import ModelStore

SCRIPTS = Path(__file__).parents[2] / "script"
MODEL, LORA = SCRIPTS / "train_demo_model.py", SCRIPTS / "train_demo_lora.py"


def train(monkeypatch: pytest.MonkeyPatch, script: Path, *args: str) -> None:
    """Run the script as a program, in this process: importing torch once is enough."""
    monkeypatch.setattr(sys, "argv", [str(script), *args])
    monkeypatch.syspath_prepend(str(SCRIPTS))
    runpy.run_path(str(script), run_name="__main__")


def test_a_smoke_run_makes_a_model_that_the_store_takes_and_the_worker_runs(
    spare: Any,
    demo: Any,
    pictures: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(monkeypatch, MODEL, str(tmp_path / "new"), "--smoke")
    said = capsys.readouterr().out
    for stage in ("crops", "whole", "decoder", "denoiser", "polish"):
        assert f"{stage}: step" in said
    model = ModelStore(tmp_path / "store").add(tmp_path / "new")
    spare.send(Load(model.digest, str(ModelStore(tmp_path / "store").path(model.digest))))
    assert isinstance(spare.until(Loaded, LoadFailed)[-1], Loaded)
    got = spare.run(demo.run(model=model.digest, steps=2))
    assert isinstance(got[-1], Done)
    assert len(pictures(got).png) == 1


def test_a_smoke_run_makes_a_lora_that_the_store_takes_and_the_worker_draws_with(
    spare: Any, demo: Any, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(monkeypatch, LORA, str(tmp_path / "new"), "--smoke")
    store = ModelStore(tmp_path / "store")
    lora = store.add_adapter(tmp_path / "new" / "adapter.safetensors", name="new")
    spare.send(Load(lora.digest, str(store.path(lora.digest)), ADAPTER))
    assert isinstance(spare.until(Loaded, LoadFailed)[-1], Loaded)
    drawn = pictures(spare.run(demo.run(steps=2, adapters=(Adapter(lora.digest, 1000),))))
    plain = pictures(spare.run(demo.run(steps=2)))
    assert drawn.leaves[0][1:] != plain.leaves[0][1:]


@pytest.mark.parametrize("script", [MODEL, LORA])
def test_it_does_not_write_over_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(SystemExit, match="not empty"):
        train(monkeypatch, script, str(tmp_path), "--smoke")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
