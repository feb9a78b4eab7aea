"""Processor, memory, disk and GPUs of this machine. Rule: what we may use counts, not what is built in.

A daemon in a container or under a limit of its own is told the smaller numbers.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from gpufair.protocol.errors import printable
from gpufair.protocol.limits import NAME_MAX
from gpufair.provider.hardware.gpu import GpuFindings, GpuProbe, NvmlProbe

CGROUP_MEMORY = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
CGROUP_CPU = "sys/fs/cgroup/cpu.max"
CGROUP1_QUOTA = "sys/fs/cgroup/cpu/cpu.cfs_quota_us"
CGROUP1_PERIOD = "sys/fs/cgroup/cpu/cpu.cfs_period_us"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a provider can sell: whole cores and bytes that this process may use; `disk_free` where models lie."""

    cpu_name: str
    cpu_cores: int
    memory_bytes: int
    memory_free: int
    disk_free: int
    gpus: GpuFindings


def probe(models: Path, gpus: GpuProbe | None = None, *, root: Path = Path("/")) -> Hardware:
    """Look at the machine; `models` may not exist yet. `root` is where /proc and /sys hang."""
    memory = _memory_bytes(root)
    return Hardware(
        cpu_name=_cpu_name(root),
        cpu_cores=cpu_cores(root),
        memory_bytes=memory,
        memory_free=min(memory, _memory_free(root) or memory),
        disk_free=_disk_free(models),
        gpus=(gpus or NvmlProbe()).look(),
    )


def cpu_cores(root: Path = Path("/")) -> int:
    """Whole cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota, period = _read(root / CGROUP1_QUOTA), _read(root / CGROUP1_PERIOD)
    if words := _read(root / CGROUP_CPU).split():
        quota, period = words[0], words[-1]
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _cpu_name(root: Path) -> str:
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return printable(" ".join(value.split()), NAME_MAX)
    return platform.processor() or platform.machine()


def _memory_bytes(root: Path) -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_read(root / name) for name in CGROUP_MEMORY]
    return min([total, *(int(limit) for limit in limits if limit.isdigit())])


def _memory_free(root: Path) -> int:
    for line in _read(root / "proc/meminfo").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemAvailable:" and words[1].isdigit():
            return int(words[1]) * 1024
    return 0


def _disk_free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
