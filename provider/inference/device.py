"""What computes, and how exactly. Rule: all that can change a result's bits is fixed here and told in the profile."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gpufair.protocol.frames import FailCode, Hello, RuntimeProfile
from gpufair.protocol.limits import NAME_MAX
from gpufair.provider.inference.engine import RefusedError

CGROUP = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Where a container's memory limit and use are told, in the new and the old way."""
SHAPES_MAX = 4096
"""Shapes for which one denoiser is compiled."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What a denoiser and its text encoder may compute in. Latents, scheduler and VAE are fp32 in every case."""


def choose(wish: str) -> torch.device:
    """The device for "cpu", "cuda" or "auto". `RefusedError` if it isn't there: no GPU job ever falls back to a CPU."""
    if wish not in ("cpu", "cuda", "auto"):
        raise RefusedError(FailCode.BAD_REQUEST, f"no such kind of device: {wish!r}")
    if wish == "cuda" and not torch.cuda.is_available():
        raise RefusedError(FailCode.BAD_REQUEST, "a GPU was asked for and torch sees none")
    return torch.device("cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu")


def arithmetic(wish: str) -> torch.dtype:
    """What denoisers compute in, by its name; empty is fp32. `RefusedError` for a name that means nothing."""
    if wish and wish not in DTYPES:
        raise RefusedError(FailCode.BAD_REQUEST, f"no such arithmetic: {wish!r}; there are {', '.join(DTYPES)}")
    return DTYPES[wish or "float32"]


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


def can_compile() -> None:
    """`RefusedError` unless there is what torch compiles with: a compiler, and memory to run what it makes."""
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cc")):
        raise RefusedError(FailCode.BAD_REQUEST, "a compiled denoiser was asked for and there is no C++ compiler here")


def compiled(denoiser: Any) -> None:
    """Have a denoiser compiled when it is first called, once for each shape.

    Never for "any shape" and never not at all after many shapes, as torch would by itself: its bits then would depend
    on what came before.
    """
    from torch import _dynamo as dynamo
    from torch import _inductor as inductor

    dynamo.config.recompile_limit = dynamo.config.accumulated_recompile_limit = SHAPES_MAX
    inductor.config.compile_threads = 1
    if denoiser._compiled_call_impl is None:  # noqa: SLF001 - shared with another model, it was compiled with that one
        denoiser.compile(dynamic=False)


def profile(device: torch.device, hello: Hello) -> RuntimeProfile:
    """All that the bits of a result depend on, on this device."""
    flags = ["deterministic", "no-tf32", f"pillow {version('pillow')}"]
    flags += ["compiled"] if hello.compile else []
    if device.type == "cpu":
        flags += [f"threads {hello.threads}", f"isa {torch.backends.cpu.get_cpu_capability()}"]
    else:
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        flags += [f"cuda {torch.version.cuda}", f"cudnn {cudnn}", "channels-last"]
    return RuntimeProfile(
        python=platform.python_version(),
        torch=torch.__version__,
        diffusers=version("diffusers"),
        transformers=version("transformers"),
        wheel=version("gpufair"),
        device_kind=device.type,
        device_name=_name(device)[:NAME_MAX],
        dtype=hello.dtype or "float32",
        flags=tuple(sorted(flags)),
    )


def memory_bytes(device: torch.device) -> int:
    """The whole memory of the device; of a CPU, what the machine has or its container may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit, _used in CGROUP:
        try:
            return min(machine, int(limit.read_text()))
        except (OSError, ValueError):
            continue
    return machine


def free_bytes(device: torch.device) -> int:
    """The memory that is still to be had now, of the card (what torch keeps there included) or for this process."""
    if device.type == "cuda":
        free = int(torch.cuda.mem_get_info(device)[0])
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = _number(Path("/proc/meminfo"), "MemAvailable:") * 1024
    for limit, used in CGROUP:
        try:
            free = min(free, int(limit.read_text()) - int(used.read_text()))
        except (OSError, ValueError):
            continue
    for what, key in ((resource.RLIMIT_DATA, "VmData:"), (resource.RLIMIT_AS, "VmSize:")):
        most = resource.getrlimit(what)[0]
        if most != resource.RLIM_INFINITY:
            free = min(free, most - _number(Path("/proc/self/status"), key) * 1024)
    return max(0, free)


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


def out_of_memory(err: Exception) -> bool:
    """Whether an exception is one of torch's several ways to say that memory ran out."""
    if isinstance(err, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = str(err).lower()
    return isinstance(err, RuntimeError) and ("allocate memory" in said or "not enough memory" in said)


def _number(path: Path, key: str) -> int:
    """The number behind a key in one of the kernel's tables; 0 if it isn't there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
