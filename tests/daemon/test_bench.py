"""`gpufaird bench`: a real worker is measured, and the node's offer tells what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpufair.provider import bench
from gpufair.provider.cli.app import app
from gpufair.provider.home import Home
from gpufair.provider.models.store import ModelStore
from gpufair.provider.sales.speeds import Speeds


def gpufaird(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    done = gpufaird("init", "--home", str(tmp_path / "n"), "--listen", "127.0.0.1:7799", "--runtime", "process")
    assert done.exit_code == 0, done.output
    return Home(tmp_path / "n")


def test_a_model_is_measured_in_every_task_and_the_offer_can_tell_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 1)
    done = gpufaird("bench", "--model", "demo", "--home", str(home.root), "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    [model] = answer["models"]
    assert {figure["task"] for figure in model["figures"]} == {"text_to_image", "image_to_image", "inpaint"}
    assert {figure["width"] for figure in model["figures"]} == {32, 64, 128}
    for figure in model["figures"]:
        assert 0.001 < figure["mfu"] < 1.3
        assert figure["peak_bytes"] > 10**8
        assert figure["step_us"] < figure["whole_us"]
    speed = Speeds(home.speeds).of(bytes.fromhex(model["digest"]), [bytes.fromhex(answer["profile"])])
    assert speed is not None
    assert speed.step_megapixel_us > 1000
    assert speed.load_us > 10_000
    assert not list(home.workers.rglob("*/*")), "the worker is gone"


def test_a_running_node_is_not_disturbed(home: Home) -> None:
    with home.take():
        done = gpufaird("bench", "--home", str(home.root))
    assert done.exit_code != 0
    assert "a node is running" in str(done.exception)


def test_nothing_to_measure_is_said(home: Home) -> None:
    store = ModelStore(home.models)
    for model in store.list():
        store.remove(model.digest)
    assert "no model to measure" in str(gpufaird("bench", "--home", str(home.root)).exception)
    assert "no model called" in str(gpufaird("bench", "--model", "owl", "--home", str(home.root)).exception)


def test_shapes_stay_within_the_owner_s_limits(home: Home) -> None:
    [demo] = ModelStore(home.models).list()
    assert {shape.side for shape in bench.shapes(demo, 512, 1024 * 1024)} == {256, 512, 1024}
    assert {shape.side for shape in bench.shapes(demo, 512, 512 * 512)} == {256, 512}
    assert {shape.side for shape in bench.shapes(demo, 8, 2048 * 2048)} == {8, 16}
