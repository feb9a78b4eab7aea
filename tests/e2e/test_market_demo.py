"""The market demo in small, with workers that draw nothing. Rule: every picture is here, and the books agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from gpufair.client.pictures.verify import verify

ROOT = Path(__file__).parents[2]


def test_twelve_pictures_over_four_providers_of_which_one_is_killed(tmp_path: Path) -> None:
    small = {"GPUFAIR_MARKET_NULL": "1", "GPUFAIR_MARKET_ROWS": "3", "GPUFAIR_MARKET_COLUMNS": "4"}
    env = {**os.environ, "GPUFAIR_RUNTIME": "process", "GPUFAIR_DEMO_OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    script = str(ROOT / "script" / "lib" / "market_demo.py")
    done = subprocess.run(
        [sys.executable, script], env=env | small, capture_output=True, text=True, timeout=280, check=False
    )
    logs = "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    assert "kill -9" in done.stdout
    assert "the book is sound" in done.stdout
    index = json.loads((tmp_path / "pictures" / "index.json").read_text())
    files = [tmp_path / "pictures" / one["file"] for one in index["pictures"]]
    assert len({verify(file.read_bytes()).receipt.doc.job for file in files}) == 12
    assert (tmp_path / "pictures" / "sheet.png").stat().st_size > 0
