"""CONTRIBUTING.md on adding a family: that is all it takes, for a worker that has just that draws with one."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from gpufair.protocol.frames import Done, Load, Loaded, LoadFailed
from gpufair.provider.models.store import ModelStore

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
RUNNER = '''
"""The worker with what CONTRIBUTING.md adds: a file in its folder, and a line in its table."""
from gpufair.provider.inference import __main__ as worker
from gpufair.provider.inference.serve import main

def build(hello):
    engine = worker.build(hello)
    from gpufair.protocol.families import FAMILIES, Family
    from gpufair.protocol.messages import Scheduler, Task
    from gpufair.provider.inference import families
    families.__path__.append(PLACE)
    LINE
    return engine

main(build)
'''


@pytest.fixture
def worker(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker with the page's additions and no others."""
    code, line = re.findall(
        r"```python\n# (?:provider/inference/families|protocol/families)[^\n]*\n(.*?)\n```", PAGE.read_text(), re.S
    )
    assert len(line.splitlines()) == 1
    [name] = re.findall(r'maker="(\w+)"', line)
    (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / "runner.py").write_text(RUNNER.replace("PLACE", repr(str(tmp_path))).replace("LINE", line))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return start("runner")


def picture(pictures: Any, worker: Any, run: Any) -> Image.Image:
    got = worker.run(run)
    assert isinstance(got[-1], Done), got[-1]
    return Image.open(io.BytesIO(pictures(got).png[0]))


def test_it_draws(worker: Any, demo: Any, pictures: Any, tmp_path: Path) -> None:
    negative = tmp_path / "negative"
    for source in Path(demo.path).rglob("*"):
        target = negative / source.relative_to(demo.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            target.write_bytes(source.read_bytes())
    index = json.loads((negative / "model_index.json").read_text())
    (negative / "model_index.json").write_text(json.dumps(index | {"_class_name": "NegativePipeline"}))
    store = ModelStore(tmp_path / "store")
    digest = store.add(negative).digest
    for model, path in ((demo.digest, demo.path), (digest, str(store.path(digest)))):
        worker.send(Load(model, path))
        assert isinstance(worker.until(Loaded, LoadFailed)[-1], Loaded)

    plain = picture(pictures, worker, demo.run())
    printed = picture(pictures, worker, demo.run(model=digest))
    assert ImageOps.invert(printed).tobytes() == plain.tobytes()
