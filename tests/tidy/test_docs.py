"""The pages say what is true now. Rule: what can be generated is, and a test notices when it is stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_architecture_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "script/lib/architecture.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_file_says_its_job() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 3]
    assert len(rows) > 100
    assert not [row for row in rows if row.endswith("|  |")]


def test_the_two_commands_stand_first() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert -1 < page.find("script/demo") < page.find("script/test") < 1500
