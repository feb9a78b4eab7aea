"""The demo, as `script/demo` starts it. Rule: on both runtimes it ends with a paid picture and a book that agrees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpufair.client.pictures.verify import verify

ROOT = Path(__file__).parents[2]


def run_demo(out: Path, **more: str) -> str:
    """Run the demo into a folder of its own; what it printed."""
    env = {**os.environ, "GPUFAIR_DEMO_OUT": str(out), "OMP_NUM_THREADS": "1", **more}
    script = str(ROOT / "script" / "lib" / "demo.py")
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=280, check=False)
    logs = "".join(log.read_text() for log in out.glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    return done.stdout


@pytest.fixture
def runtime(name: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """What script/demo tells the demo of the runtime."""
    if name == "process":
        return {"GPUFAIR_RUNTIME": "process"}
    host, image = (request.getfixturevalue(setting) for setting in ("docker_host", "worker_image"))
    return {"GPUFAIR_RUNTIME": "docker", "DOCKER_HOST": host, "GPUFAIR_WORKER_IMAGE": image}


@pytest.mark.parametrize(("name", "isolation"), [("process", "none"), ("docker", "container")])
def test_a_paid_picture(runtime: dict[str, str], isolation: str, tmp_path: Path) -> None:
    said = run_demo(tmp_path, **runtime)
    assert f"isolation {isolation}" in said
    assert "1 paid, 0 failed" in said
    assert "the book is sound: 3 events" in said
    checked = verify((tmp_path / "picture.png").read_bytes())
    assert checked.receipt.doc.spec.steps == 20
    assert (tmp_path / "picture-enlarged.png").stat().st_size > 0
