"""The container that a worker lives in, as the engine's JSON. Rule: built whole from `WorkerSpec`, nothing added.

Every field that widens what a container may do is absent or set here to its narrowest, and `differences` tells whether
the engine kept them. Written against the Docker Engine API 1.41, which podman serves too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from gpufair.provider.workers.runtime import LABEL_NODE, LABEL_WORKER, Variant, WorkerSpec

USER: Final = "65534:65534"
MODELS: Final = "/models"
SCRATCH_BYTES: Final = 64 * 1024 * 1024
"""The worker's whole writable disk, in memory and counted as such."""
SHM_BYTES: Final = 16 * 1024 * 1024
OPEN_FILES: Final = 1024
GVISOR: Final = "runsc"
GVISOR_PIDS: Final = 256
"""gVisor's own kernel runs as threads inside the container's limit, and does not start with fewer."""
OOM_SCORE: Final = 500
"""Above every ordinary program: when the machine itself runs short, the worker goes first."""
REFUSED_VARIABLE: Final = re.compile(r"^(LD_|NVIDIA_|GLIBC_TUNABLES)")
HARMLESS_VARIABLE: Final = re.compile(r"^NVIDIA_DRIVER_CAPABILITIES=(compute|utility|compute,utility)?$")
"""It can only narrow what `_device` asks for."""
JSON = dict[str, Any]


def container(
    spec: WorkerSpec, image_id: str, *, node: str, worker: str, seccomp: str, runtime: str, gpu_cdi: bool
) -> JSON:
    """The body of `POST /containers/create`. `seccomp` is the profile's text; `runtime` is "" for the engine's own."""
    body: JSON = {
        "Image": image_id,
        "User": USER,
        "WorkingDir": "/",
        "Env": _environment(spec),
        "Labels": {LABEL_NODE: node, LABEL_WORKER: worker},
        "NetworkDisabled": True,
        "OpenStdin": True,
        # The worker's stdin closes with our attachment: a daemon that dies leaves no honest worker behind.
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host(spec, seccomp, runtime, gpu_cdi=gpu_cdi),
    }
    if spec.variant is Variant.NULL:
        body["Entrypoint"] = ["python", "-m", Variant.NULL.value]
        body["Cmd"] = []
    return body


def _host(spec: WorkerSpec, seccomp: str, runtime: str, *, gpu_cdi: bool) -> JSON:
    host: JSON = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "Privileged": False,
        "CapAdd": [],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp}"],
        "PidsLimit": spec.pids + (GVISOR_PIDS if runtime == GVISOR else 0),
        "Memory": spec.memory_bytes,
        "MemorySwap": spec.memory_bytes,
        "NanoCpus": spec.cpu_milli * 1_000_000,
        "OomScoreAdj": OOM_SCORE,
        "OomKillDisable": False,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "ShmSize": SHM_BYTES,
        "Tmpfs": {"/tmp": f"size={SCRATCH_BYTES},mode=1777,noexec,nosuid,nodev"},  # noqa: S108 -- the container's own
        "Mounts": [
            {
                "Type": "bind",
                "Source": str(spec.models),
                "Target": MODELS,
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rprivate"},
            }
        ],
        "Ulimits": [
            {"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES},
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "memlock", "Soft": 64 * 1024, "Hard": 64 * 1024},
        ],
        # Frames pass through the attachment; kept by a log driver too, they would fill the owner's disk.
        "LogConfig": {"Type": "none", "Config": {}},
        "Init": True,
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
    }
    if runtime:
        host["Runtime"] = runtime
    if spec.gpu is not None:
        host["DeviceRequests"] = [_device(spec.gpu, cdi=gpu_cdi)]
        # Pinned host memory is how data reaches a GPU at speed; it stays inside the memory limit.
        host["Ulimits"][-1] = {"Name": "memlock", "Soft": -1, "Hard": -1}
    return host


def _device(gpu: str, *, cdi: bool) -> JSON:
    if cdi:
        return {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={gpu}"]}
    return {"Driver": "", "Count": 0, "DeviceIDs": [gpu], "Capabilities": [["gpu", "compute", "utility"]]}


def _environment(spec: WorkerSpec) -> list[str]:
    return [
        "HOME=/tmp",
        "TMPDIR=/tmp",
        # Libraries ask for the account's name, and this account has no entry in the image.
        "USER=worker",
        "LOGNAME=worker",
        "LANG=C.UTF-8",
        "PYTHONDONTWRITEBYTECODE=1",
        f"OMP_NUM_THREADS={spec.threads}",
        "HF_HUB_OFFLINE=1",
        "TRANSFORMERS_OFFLINE=1",
    ]


def image_problems(config: JSON) -> Iterator[str]:
    """Why an image, by its `Config`, may not run here: what it sets would reach past the walls built above."""
    for entry in config.get("Env") or []:
        name = str(entry).partition("=")[0]
        if REFUSED_VARIABLE.match(name) and not HARMLESS_VARIABLE.match(str(entry)):
            yield f"it sets the variable {name[:40]}, which the loader or the GPU driver's hooks obey"
    if config.get("Volumes"):
        yield "it declares volumes, which would be writable disk without a limit"
    if config.get("OnBuild"):
        yield "it carries build triggers: it is a base for images, not one to run"


def differences(asked: JSON, inspected: JSON) -> Iterator[str]:
    """What the engine made other than asked, from `GET /containers/…/json`. Engines drop what they don't know."""
    want, got = asked["HostConfig"], inspected.get("HostConfig") or {}
    exact = ("NetworkMode", "ReadonlyRootfs", "Privileged", "PidsLimit", "Memory", "NanoCpus")
    for key in exact:
        if got.get(key) != want[key]:
            yield f"{key} is {got.get(key)!r}, asked for {want[key]!r}"
    if "Runtime" in want and got.get("Runtime") != want["Runtime"]:
        yield f"the runtime is {got.get('Runtime')!r}, asked for {want['Runtime']!r}"
    if got.get("CapAdd"):
        yield "capabilities were added"
    if "ALL" not in (drops := [str(cap).upper() for cap in got.get("CapDrop") or []]) and len(drops) < 10:
        yield "capabilities were not dropped"
    options = [str(option) for option in got.get("SecurityOpt") or []]
    if not any(option.startswith("no-new-privileges") for option in options):
        yield "no-new-privileges is not set"
    if not any(option.startswith("seccomp=") for option in options) or "seccomp=unconfined" in options:
        yield "the system-call filter is not set"
    if got.get("Binds") or got.get("Devices") or got.get("VolumesFrom"):
        yield "binds, devices or volumes were added"
    if "DeviceRequests" in want and not got.get("DeviceRequests"):
        yield "the GPU was not attached"
    mounts = inspected.get("Mounts") or []
    outside = [m for m in mounts if m.get("Type") != "tmpfs"]
    if [(m.get("Destination"), m.get("RW")) for m in outside] != [(MODELS, False)]:
        yield f"the mounts are {[m.get('Destination') for m in mounts]!r}, asked for {MODELS} read-only alone"
    if (inspected.get("Config") or {}).get("User") != USER:
        yield f"the user is not {USER}"
