"""What computes, and how exactly. Rule: all that can change a result's bits is fixed here and told in the profile."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gpufair.protocol.frames import FailCode, Hello, RuntimeProfile
from gpufair.protocol.limits import NAME_MAX, VAE_TILE_SIDE
from gpufair.provider.inference.engine import RefusedError

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
    if torch.get_num_interop_threads() != 1:  # torch takes it once in a process
        torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True)
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - a module with a property
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def can_compile() -> None:
    """`RefusedError` unless there is what torch compiles with: a compiler, and memory to run what it makes."""
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
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
    flags = ["deterministic", "no-tf32", f"pillow {version('pillow')}", f"vae-tiles {VAE_TILE_SIDE}"]
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
