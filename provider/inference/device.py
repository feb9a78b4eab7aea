"""What computes, and how exactly. Rule: all that can change a result's bits is fixed here and told in the profile."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from gpufair.protocol.frames import FailCode, Hello, RuntimeProfile
from gpufair.protocol.limits import NAME_MAX
from gpufair.provider.inference.engine import RefusedError

DTYPE = torch.float32


def choose(wish: str) -> torch.device:
    """The device for "cpu", "cuda" or "auto". `RefusedError` if it isn't there: no GPU job ever falls back to a CPU."""
    if wish not in ("cpu", "cuda", "auto"):
        raise RefusedError(FailCode.BAD_REQUEST, f"no such kind of device: {wish!r}")
    if wish == "cuda" and not torch.cuda.is_available():
        raise RefusedError(FailCode.BAD_REQUEST, "a GPU was asked for and torch sees none")
    return torch.device("cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu")


def fix(threads: int) -> None:
    """Make torch deterministic. To be called once, before anything is computed."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True)
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - a module with a property
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def profile(device: torch.device, hello: Hello) -> RuntimeProfile:
    """All that the bits of a result depend on, on this device."""
    flags = ["deterministic", "no-tf32", f"pillow {version('pillow')}"]
    if device.type == "cpu":
        flags += [f"threads {hello.threads}", f"isa {torch.backends.cpu.get_cpu_capability()}"]
    else:
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        flags += [f"cuda {torch.version.cuda}", f"cudnn {cudnn}"]
    return RuntimeProfile(
        python=platform.python_version(),
        torch=torch.__version__,
        diffusers=version("diffusers"),
        transformers=version("transformers"),
        wheel=version("gpufair"),
        device_kind=device.type,
        device_name=_name(device)[:NAME_MAX],
        dtype="float32",
        flags=tuple(sorted(flags)),
    )


def memory_bytes(device: torch.device) -> int:
    """The whole memory of the device; of a CPU, what the machine has or its container may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(machine, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return machine


def out_of_memory(err: Exception) -> bool:
    """Whether an exception is one of torch's several ways to say that memory ran out."""
    if isinstance(err, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = str(err).lower()
    return isinstance(err, RuntimeError) and ("allocate memory" in said or "not enough memory" in said)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
