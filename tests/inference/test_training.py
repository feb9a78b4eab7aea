"""The training script really runs: every stage for a few steps, and out comes a model that can be sold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from gpufair.protocol.frames import Done, Load, Loaded, LoadFailed
from gpufair.provider.models.store import ModelStore

SCRIPT = Path(__file__).parents[2] / "script" / "train_demo_model.py"


def train(*args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *args], capture_output=True, text=True, env=environment, check=False
    )


def test_a_smoke_run_makes_a_model_that_the_store_takes_and_the_worker_runs(
    spare: Any, demo: Any, pictures: Any, tmp_path: Path
) -> None:
    done = train(str(tmp_path / "new"), "--smoke")
    assert done.returncode == 0, done.stderr
    for stage in ("crops", "whole", "decoder", "denoiser", "polish"):
        assert f"{stage}: step" in done.stdout
    model = ModelStore(tmp_path / "store").add(tmp_path / "new")
    spare.send(Load(model.digest, str(ModelStore(tmp_path / "store").path(model.digest))))
    assert isinstance(spare.until(Loaded, LoadFailed)[-1], Loaded)
    got = spare.run(demo.run(model=model.digest, steps=2))
    assert isinstance(got[-1], Done)
    assert len(pictures(got).png) == 1


def test_it_does_not_write_over_anything(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    done = train(str(tmp_path), "--smoke")
    assert done.returncode != 0
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
