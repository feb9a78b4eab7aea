"""CONTRIBUTING.md on adding a task and a family: that is all it takes, for a worker that has just that draws."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from gpufair.protocol.frames import Done, Load, Loaded, LoadFailed
from gpufair.provider.models.store import ModelStore

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
ROOM = "provider/inference/"
RUNNER = '''
"""The worker with what CONTRIBUTING.md adds: two files in their folders, and two lines in their tables."""
from gpufair.provider.inference import __main__ as worker
from gpufair.provider.inference.serve import main

def build(hello):
    engine = worker.build(hello)
    from gpufair.protocol.families import FAMILIES, Family
    from gpufair.protocol.messages import Scheduler, Task
    from gpufair.provider.inference import families, tasks
    from gpufair.provider.inference.tasks import TASKS
    for room in (families, tasks):
        room.__path__.append(PLACE + "/" + room.__name__.rpartition(".")[2])
LINES
    return engine

main(build)
'''


@pytest.fixture
def worker(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker with the page's additions and no others."""
    lines = []
    blocks = re.findall(
        r"```python\n# (provider/inference/\S+|protocol/families\.py)(,[^\n]*)?\n(.*?)```", PAGE.read_text(), re.S
    )
    assert len(blocks) == 4
    for path, is_line, code in blocks:
        if is_line:
            lines += [f"    {line}" for line in code.strip().splitlines()]
        else:
            place = tmp_path / path.removeprefix(ROOM)
            place.parent.mkdir(exist_ok=True)
            place.write_text(code)
    assert len(lines) == 2, "one line each"
    (tmp_path / "runner.py").write_text(RUNNER.replace("PLACE", repr(str(tmp_path))).replace("LINES", "\n".join(lines)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return start("runner")


def picture(pictures: Any, worker: Any, run: Any) -> Image.Image:
    got = worker.run(run)
    assert isinstance(got[-1], Done), got[-1]
    return Image.open(io.BytesIO(pictures(got).png[0]))


def test_they_draw(worker: Any, demo: Any, pictures: Any, tmp_path: Path) -> None:
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

    symmetric = np.asarray(picture(pictures, worker, demo.run(task="symmetric", prompt="a panda", steps=8))).astype(int)
    usual = np.asarray(picture(pictures, worker, demo.run(prompt="a panda", steps=8))).astype(int)
    lopsided = [float(np.abs(pixels - pixels[:, ::-1]).mean()) for pixels in (symmetric, usual)]
    assert lopsided[0] < 0.8 * lopsided[1]
