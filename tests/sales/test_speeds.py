"""Measured speeds, from `bench` to the offer: for the profile they were measured on, whatever the file holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpufair.protocol.frames import RuntimeProfile
from gpufair.protocol.messages import Speed
from gpufair.provider.sales.speeds import Figure, Measurement, Speeds

PROFILE = RuntimeProfile("3.11", "2.13", "0.42", "5", "0.1", "cpu", "a processor", "float32", ("threads 1",))
OTHER = replace(PROFILE, dtype="bfloat16")
FIGURE = Figure("text_to_image", 500, 500, True, 1_000_000, 100_000, 4_200_000, 10**10, 10**9, 10**11, 10**9, 4)
MEASURED = Measurement("m", 3_000_000, (FIGURE, replace(FIGURE, step_us=3_000_000), replace(FIGURE, step_us=1)))
MODEL = b"m" * 32


def test_a_figure_says_what_is_sold() -> None:
    assert FIGURE.step_megapixels_s == pytest.approx(0.5)
    assert FIGURE.mfu == pytest.approx(0.1)
    assert FIGURE.pictures_s == pytest.approx(1 / 20.2)


def test_the_offer_tells_medians_of_pictures_out_of_words(tmp_path: Path) -> None:
    inpaint = replace(FIGURE, task="inpaint", step_us=9_000_000)
    speeds = Speeds(tmp_path / "speeds.json")
    assert speeds.of(MODEL, ()) is None
    speeds.keep(PROFILE, {MODEL: replace(MEASURED, figures=(*MEASURED.figures, inpaint))}, 5)
    assert speeds.of(MODEL, ()) == Speed(2_000_000, 400_000, 3_000_000)
    assert speeds.of(MODEL, [PROFILE.digest(), OTHER.digest()]) is not None
    assert speeds.of(MODEL, [OTHER.digest()]) is None, "these workers compute in another way"
    assert speeds.of(b"n" * 32, ()) is None


def test_another_process_may_measure_and_models_of_one_profile_add_up(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    node = Speeds(path)
    Speeds(path).keep(PROFILE, {MODEL: MEASURED}, 5)
    assert node.of(MODEL, ()) is not None
    Speeds(path).keep(PROFILE, {b"n" * 32: MEASURED}, 6)
    assert node.of(MODEL, ()) is not None
    assert node.of(b"n" * 32, ()) is not None
    Speeds(path).keep(OTHER, {b"n" * 32: MEASURED}, 7)
    assert node.of(MODEL, ()) is None, "measured in another way, and no more comparable"


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"models": {}}', '{"models": {"zz": 1}}', "\x00"])
def test_a_broken_file_is_told_and_no_speed_is(tmp_path: Path, caplog: Any, content: str) -> None:
    path = tmp_path / "speeds.json"
    path.write_text(content)
    assert Speeds(path).of(MODEL, ()) is None
    assert "gpufaird bench" in caplog.text


def test_a_file_that_was_meddled_with_breaks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    speeds = Speeds(path)
    speeds.keep(PROFILE, {MODEL: MEASURED}, 5)
    told = json.loads(path.read_text())
    for change in (
        {"step_us": -1},
        {"width": 0},
        {"more": 1},
        {"step_us": "fast"},
        {"step_us": 1e400},
        {"decode_us": 10**40},
    ):
        [one] = told["models"].values()
        path.write_text(
            json.dumps({**told, "models": {MODEL.hex(): {**one, "figures": [{**one["figures"][0], **change}]}}})
        )
        assert Speeds(path).of(MODEL, ()) is None


def test_the_offer_shows_it(world: Any) -> None:
    assert world.offers.current().doc.models[0].speed is None
    world.speeds = {world.models[0].digest: Speed(1, 2, 3)}
    assert world.offers.current().doc.models[0].speed == Speed(1, 2, 3), "a new offer, since something changed"
