"""What script/bench prints: the shape of its rows and its list of benchmarks. Nothing here is timed."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AGREED = ["name", "ours", "peer", "unit", "ratio", "goal", "met"]


@pytest.fixture(scope="module", autouse=True)
def benchmarks_are_found():
    """Benchmarks are no package of ours; only here their folder is on the path."""
    sys.path.append(str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.fixture
def rows():
    return importlib.import_module("benchmarks.rows")


def test_a_row_is_one_line_of_json_with_the_agreed_keys_first(rows):
    row = rows.Row("name", 12.0, 4.0, "ms", "≤ 2x", met=False, detail={"rounds": 3})
    line = row.to_json()
    assert "\n" not in line
    found = json.loads(line)
    assert list(found) == [*AGREED, "detail"]
    assert found["ratio"] == 3.0
    assert found["met"] is False


def test_a_row_without_a_peer_has_neither_peer_nor_ratio(rows):
    found = json.loads(rows.Row("demo.warm", 11.25, None, "s", "≤ 15 s", met=True).to_json())
    assert (found["peer"], found["ratio"], found["met"]) == (None, None, True)


def test_a_row_that_only_informs_is_neither_met_nor_missed(rows):
    found = json.loads(rows.Row("market.worker", 2.0, 4.0, "ms").to_json())
    assert (found["goal"], found["met"]) == (None, None)


def test_the_table_shows_a_row_that_loses(rows):
    text = rows.table([rows.Row("loser", 12.0, 4.0, "ms", "≤ 2x", met=False)])
    assert text.splitlines()[0].split() == AGREED
    assert text.splitlines()[1].split() == ["loser", "12", "4", "ms", "3.00", "≤", "2x", "NO"]


def test_percentiles_are_values_that_were_measured(rows):
    samples = rows.Samples([float(value) for value in range(1, 101)])
    assert (samples.median, samples.percentile(0.9), samples.percentile(0.99)) == (50.5, 90.0, 99.0)
    assert rows.Samples([7.0]).percentile(0.99) == 7.0


def test_every_benchmark_has_a_file_a_name_of_its_own_and_a_line_in_the_documentation():
    found = importlib.import_module("benchmarks.registry").BENCHMARKS
    assert len({entry.name for entry in found}) == len(found)
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    for entry in found:
        assert (ROOT / (entry.module.replace(".", "/") + ".py")).is_file()
        assert f"`{entry.name}`" in page, f"docs/benchmarks.md does not tell about {entry.name}"


def test_an_unknown_name_is_refused_before_anything_runs(capsys):
    main = importlib.import_module("benchmarks.__main__")
    with pytest.raises(SystemExit) as stop:
        main.main(["nonsense"])
    assert stop.value.code == 2
    assert "no benchmark is called nonsense" in capsys.readouterr().err
