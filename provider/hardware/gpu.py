"""GPUs, by NVML. Rule: no GPU is an answer with a reason, not an error, and never a guess.

Asked anew each time: a GPU can fall off its bus, and a driver can be loaded, while the node runs.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from gpufair.protocol.errors import printable
from gpufair.protocol.limits import NAME_MAX, OFFER_GPUS_MAX


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One accelerator: UUID (how a worker is given it), product name, memory in bytes, whole and unused."""

    uuid: str
    name: str
    memory_bytes: int
    memory_free: int


@dataclass(frozen=True, slots=True)
class GpuFindings:
    """The accelerators found, the driver's version, and if there are none (or fewer than there should be), why."""

    devices: tuple[GpuDevice, ...] = ()
    driver: str = ""
    why: str = ""


class GpuProbe(Protocol):
    """Looks for accelerators."""

    def look(self) -> GpuFindings:
        """What is there now. Never raises for a missing driver or library."""
        ...


class NvmlProbe:
    """NVIDIA's own management library, through `nvidia-ml-py`."""

    def look(self) -> GpuFindings:
        """All NVIDIA GPUs that answer."""
        try:
            import pynvml
        except ImportError:
            return GpuFindings(why="the package nvidia-ml-py is not installed (pip install 'gpufair[provider]')")
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as err:
            return GpuFindings(why=f"no NVIDIA driver answers: {printable(str(err), NAME_MAX)}")
        try:
            return _enumerate(pynvml)
        except pynvml.NVMLError as err:
            return GpuFindings(why=f"the NVIDIA driver fails: {printable(str(err), NAME_MAX)}")
        finally:
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


def _enumerate(nvml: ModuleType) -> GpuFindings:
    found, lost = [], []
    for index in range(min(nvml.nvmlDeviceGetCount(), OFFER_GPUS_MAX)):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            uuid, name = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
            found.append(GpuDevice(uuid, name, int(memory.total), int(memory.free)))
        except nvml.NVMLError as err:
            lost.append(f"GPU {index} doesn't answer: {printable(str(err), NAME_MAX)}")
    why = "; ".join(lost) or ("" if found else "the NVIDIA driver knows no GPU")
    return GpuFindings(tuple(found), _text(nvml.nvmlSystemGetDriverVersion()), why)


def _text(value: Any) -> str:
    """One line that is safe to print. Older versions of the library give bytes."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return printable(" ".join(text.split()), NAME_MAX)
