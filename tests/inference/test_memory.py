"""Memory that runs short: an oversized picture is refused, or fails alone, and its neighbours never feel it."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gpufair.protocol.frames import Accepting, Done, FailCode, Failed, Load, Loaded, LoadFailed, Step
from gpufair.protocol.limits import MIB
from gpufair.provider.inference import memory
from gpufair.provider.models.footprints import Footprints, read

WHOLE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def leave(worker: Any, room: int) -> None:
    """Let a worker have `room` bytes more than it has now, and no more."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    used = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    resource.prlimit(worker.process.pid, resource.RLIMIT_DATA, (used + room, resource.RLIM_INFINITY))


@pytest.fixture
def tight(spare: Any) -> Any:
    """A worker whose memory a test may take; it has it back afterwards."""
    yield spare
    resource.prlimit(spare.process.pid, resource.RLIMIT_DATA, WHOLE)


def test_an_oversized_picture_is_refused_with_its_numbers_before_it_starts(tight: Any, demo: Any) -> None:
    leave(tight, 150 * MIB)
    got = tight.run(demo.run(width=1024, height=1024, steps=1))
    assert [type(frame) for frame in got] == [Accepting, Failed]
    assert got[-1].code is FailCode.OUT_OF_MEMORY
    assert "1024 x 1024 needs" in got[-1].message
    assert "are free" in got[-1].message
    assert isinstance(tight.run(demo.run(steps=1))[-1], Done)


def test_an_oversized_picture_that_got_in_fails_alone(tight: Any, demo: Any, pictures: Any) -> None:
    """Memory is there when it is let in, and gone when it is needed."""
    small, large = demo.run(steps=8, precision="exact"), demo.run(width=1024, height=1024, steps=1)
    alone = pictures(tight.run(demo.run(steps=8, precision="exact")))
    tight.send(large)
    got = tight.until(Step)
    leave(tight, 120 * MIB)
    tight.send(small)
    for _ in range(2):
        got += tight.until(Done, Failed)
    [failed] = [frame for frame in got if isinstance(frame, Failed)]
    assert (failed.attempt, failed.code) == (large.attempt, FailCode.OUT_OF_MEMORY)
    assert Done(small.attempt) in got
    together = pictures([frame for frame in got if getattr(frame, "attempt", b"") == small.attempt])
    assert (together.png, together.leaves) == (alone.png, alone.leaves), "bit for bit, trace included"


def test_unused_models_make_room_for_a_picture(start: Any, siblings: list[Any]) -> None:
    worker = start(weights_bytes=2**33)
    for model in siblings:
        worker.send(Load(model.digest, model.path))
        assert isinstance(worker.until(Loaded, LoadFailed)[-1], Loaded)
    assert isinstance(worker.run(siblings[-1].run(steps=1))[-1], Done)
    # Foretold are 130 MiB, half of which is for what can't be foretold: the heap has holes, and the limit counts them.
    leave(worker, 110 * MIB)
    assert isinstance(worker.run(siblings[-1].run(width=256, height=256, steps=1))[-1], Done)
    resource.prlimit(worker.process.pid, resource.RLIMIT_DATA, WHOLE)
    worker.send(Load(siblings[-1].digest, siblings[-1].path))
    loaded = worker.until(Loaded, LoadFailed)[-1]
    assert loaded.load_ms == 0
    assert 1 <= len(loaded.held) < 4


def test_the_store_foretells_what_the_worker_finds(warm: Any, demo: Any, tmp_path: Path) -> None:
    found = read(Path(demo.path))
    warm.send(Load(demo.digest, demo.path))
    assert found is not None
    assert found.weights_bytes(half=False) == warm.until(Loaded, LoadFailed)[-1].size
    assert (found.side, found.scale) == (64, 4)
    # A model that has gone, or is damaged, foretells nothing, and does not stop the offers.
    shutil.copytree(demo.path, tmp_path / "m", copy_function=shutil.copyfile)
    (tmp_path / "m" / "unet" / "config.json").write_text("[")
    for folder in (tmp_path / "m", tmp_path / "none"):
        assert Footprints(lambda _digest, at=folder: at).of(b"m" * 32) is None


def test_files_that_were_read_are_no_memory_that_is_gone(tmp_path: Path) -> None:
    """A container of 4 GiB that has read 3 GiB of weights and holds 1 GiB: 3 are free, and not none."""
    for name, text in (
        ("proc/meminfo", "MemTotal: 99 kB\nMemAvailable: 16777216 kB\n"),
        ("sys/fs/cgroup/memory.max", f"{4096 * MIB}\n"),
        ("sys/fs/cgroup/memory.current", f"{4096 * MIB}\n"),
        ("sys/fs/cgroup/memory.stat", f"anon {1024 * MIB}\ninactive_file {2048 * MIB}\nactive_file {1024 * MIB}\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    cpu = torch.device("cpu")
    assert memory.free_bytes(cpu, tmp_path) == 3072 * MIB
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert memory.free_bytes(cpu, tmp_path) == 16384 * MIB
    (tmp_path / "proc/meminfo").unlink()
    assert memory.free_bytes(cpu, tmp_path) > 0, "a system that doesn't tell is not one without memory"
