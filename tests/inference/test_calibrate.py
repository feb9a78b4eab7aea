"""script/calibrate: what it prints is a row that the table takes, measured between two real workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpufair.protocol.edge import tolerances

SCRIPT = Path(__file__).parents[2] / "script" / "lib" / "calibrate.py"


def calibrate(*words: str) -> str:
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, SCRIPT, *words], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_a_row_is_measured_between_two_workers(tmp_path: Path) -> None:
    traces = str(tmp_path / "traces.bin")
    assert "5 pictures" in calibrate("make", "-o", traces, "--rounds", "1", "--steps", "2")
    row = json.loads(calibrate("judge", traces, "--threads", "2").splitlines()[-1])
    assert row["steps"] == 10
    assert 0 < row["step_nano"] < 100_000, "another number of threads rounds otherwise, and hardly"
    (tmp_path / "rows.json").write_text(json.dumps({"rows": [row]}))
    limit = tolerances.load(tmp_path / "rows.json")["cpu/float32", "cpu/float32"]
    assert limit.step == row["step_nano"]
