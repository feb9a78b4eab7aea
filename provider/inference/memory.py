"""The memory of what computes. Rule: free, used and allowed bytes are measured when asked for, never remembered."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from gpufair.protocol.frames import Run
from gpufair.protocol.limits import KIB, MIB
from gpufair.protocol.memory import footprint
from gpufair.provider.inference.request import guided

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
SYSTEM = Path("/")
CGROUP = (
    ("sys/fs/cgroup", "memory.max", "memory.current", ("inactive_file ", "active_file ")),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     ("total_inactive_file ", "total_active_file ")),
)  # fmt: skip
"""Where a container's memory is told, in the new and the old way: folder, limit, use, and what of it are files."""


def memory_bytes(device: torch.device) -> int:
    """The whole memory of the device; of a CPU, what the machine has or its container may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder, limit, _used, _files in CGROUP:
        try:
            return min(machine, int((SYSTEM / folder / limit).read_text()))
        except (OSError, ValueError):
            continue
    return machine


def free_bytes(device: torch.device, root: Path = SYSTEM) -> int:
    """The memory that is still to be had now, of the card (what torch keeps there included) or for this process.

    `root` is where /proc and /sys hang.
    """
    if device.type == "cuda":
        free = int(torch.cuda.mem_get_info(device)[0])
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = _number(root / "proc/meminfo", "MemAvailable:") * 1024 or memory_bytes(device)
    for folder, limit, used, files in CGROUP:
        here = root / folder
        try:
            left = int((here / limit).read_text()) - int((here / used).read_text())
        except (OSError, ValueError):
            continue
        # Files that were read lie in memory as long as nobody needs it: weights' files, above all.
        free = min(free, left + sum(_number(here / "memory.stat", key) for key in files))
    for what, key in ((resource.RLIMIT_DATA, "VmData:"), (resource.RLIMIT_AS, "VmSize:")):
        most = resource.getrlimit(what)[0]
        if most != resource.RLIM_INFINITY:
            free = min(free, most - _number(Path("/proc/self/status"), key) * 1024)
    return max(0, free)


def picture_bytes(pipeline: Any, run: Run, dtype: torch.dtype) -> int:
    """What the largest moment of one of the attempt's pictures takes, weights aside; 0 if that can't be foretold."""
    configs = {name: getattr(part, "config", None) for name, part in pipeline.components.items()}
    found = footprint({name: config for name, config in configs.items() if isinstance(config, Mapping)}, {})
    half = dtype is not torch.float32
    return 0 if found is None else found.picture_bytes(run.width * run.height, guided=guided(run), half=half)


@contextmanager
def given_back() -> Iterator[None]:
    """Weights that are allocated meanwhile go back to the system as soon as they are freed.

    Left to itself, glibc keeps what it once had for allocations to come, whose pieces seldom fit. For pictures that is
    right, since each step allocates what the last one freed; for a model that leaves it would be a leak.
    """
    _mallopt(M_MMAP_THRESHOLD, 64 * KIB)
    try:
        yield
    finally:
        _mallopt(M_MMAP_THRESHOLD, 32 * MIB)
        _mallopt(M_TRIM_THRESHOLD, 64 * MIB)


def give_back(device: torch.device) -> None:
    """Let go of all that is kept for allocations to come."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _mallopt(what: int, value: int) -> None:
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(what, value)


def forget_peak(device: torch.device) -> None:
    """From now on `peak_bytes` means what is used from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # then it is the peak since the worker's start


def peak_bytes(device: torch.device) -> int:
    """The most memory that was used at once: of the card by torch, or by this whole process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    here = _number(Path("/proc/self/status"), "VmHWM:") * 1024
    return here or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def weights_room(device: torch.device, wish: int) -> tuple[int, int]:
    """What weights may take of the device, and of the machine's memory beside a GPU, in bytes.

    `wish` is the node's word for the first; 0 leaves three quarters of what is free now to them, the rest to pictures.
    """
    spare = free_bytes(torch.device("cpu")) // 2 if device.type == "cuda" else 0
    return wish or free_bytes(device) * 3 // 4, spare


def move(module: Any, device: torch.device) -> None:
    """Bring a part to the device; away from a GPU, to memory that the GPU can read back at full speed."""
    module.to(device)
    if device.type == "cuda":
        module.to(memory_format=torch.channels_last)
    elif torch.cuda.is_available():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = tensor.data.pin_memory()


def _number(path: Path, key: str) -> int:
    """The number behind a key in one of the kernel's tables; 0 if it isn't there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)
