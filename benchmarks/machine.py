"""What the machine was doing meanwhile. ONE RULE: a figure is published with the load that it was taken under."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.rows import Samples

TICK = os.sysconf("SC_CLK_TCK")


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_seconds(pid: int | str = "self") -> float:
    """Processor seconds that a process has used so far, all its threads; a hundredth of a second fine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def busy_seconds() -> float:
    """Processor seconds that everything on this machine has used so far."""
    jiffies = _jiffies()
    return (sum(jiffies) - jiffies[3] - jiffies[4]) / TICK


@contextmanager
def watched() -> Iterator[dict[str, Any]]:
    """Fill a dict, when the block ends, with the processor, the load average, and what others took of it meanwhile."""
    found: dict[str, Any] = {"cpu": cpu_model(), "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    start, before, mine = time.monotonic(), _jiffies(), _own()
    yield found
    wall, after = time.monotonic() - start, _jiffies()
    total = max(1, sum(after) - sum(before))
    busy = total - (after[3] - before[3]) - (after[4] - before[4])
    found |= {
        "load_after": os.getloadavg()[0],
        "steal_percent": round(100 * (after[7] - before[7]) / total, 1),
        "busy_percent": round(100 * busy / total, 1),
        "own_cpu_s": round(_own() - mine, 2),
        "wall_s": round(wall, 1),
    }


def sync_ms(folder: Path, *, rounds: int = 100, size: int = 4096) -> Samples:
    """How long this disk takes to make `size` bytes durable: fdatasync, the file not growing. The physical floor."""
    path = folder / "sync-floor"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    values = []
    try:
        os.write(descriptor, b"x" * size * 64)
        os.fsync(descriptor)
        for number in range(rounds):
            os.pwrite(descriptor, os.urandom(size), (number % 64) * size)
            start = time.perf_counter()
            os.fdatasync(descriptor)
            values.append((time.perf_counter() - start) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return Samples(values)


def _own() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _jiffies() -> list[int]:
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
