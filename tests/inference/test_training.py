"""The training script really runs: every stage for a few steps, and out comes a model that can be sold."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from gpufair.protocol.frames import Done, Load, Loaded, LoadFailed
from gpufair.provider.models.store import ModelStore

SCRIPT = Path(__file__).parents[2] / "script" / "train_demo_model.py"


def train(monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    """Run the script as a program, in this process: importing torch once is enough."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *args])
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_a_smoke_run_makes_a_model_that_the_store_takes_and_the_worker_runs(
    spare: Any,
    demo: Any,
    pictures: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(monkeypatch, str(tmp_path / "new"), "--smoke")
    said = capsys.readouterr().out
    for stage in ("crops", "whole", "decoder", "denoiser", "polish"):
        assert f"{stage}: step" in said
    model = ModelStore(tmp_path / "store").add(tmp_path / "new")
    spare.send(Load(model.digest, str(ModelStore(tmp_path / "store").path(model.digest))))
    assert isinstance(spare.until(Loaded, LoadFailed)[-1], Loaded)
    got = spare.run(demo.run(model=model.digest, steps=2))
    assert isinstance(got[-1], Done)
    assert len(pictures(got).png) == 1


def test_it_does_not_write_over_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(SystemExit, match="not empty"):
        train(monkeypatch, str(tmp_path), "--smoke")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
