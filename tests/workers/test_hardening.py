"""The container's description: the same walls whatever is asked, and a difference is always noticed."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol.frames import Run
from gpufair.provider.workers import hardening
from gpufair.provider.workers.runtime import Variant, WorkerSpec

SECCOMP = (Path(hardening.__file__).with_name("seccomp.json")).read_text()
MOUNT_KEYS = {"Type", "Source", "Target", "ReadOnly", "BindOptions"}
specs = st.builds(
    WorkerSpec,
    models=st.text(st.characters(min_codepoint=33, max_codepoint=126)).map(lambda n: Path("/", n.strip("/"))),
    memory_bytes=st.integers(64 << 20, 1 << 40),
    cpu_milli=st.integers(1, 10**6),
    pids=st.integers(1, 10**5),
    threads=st.integers(1, 1024),
    gpu=st.none() | st.from_regex(r"\A[A-Za-z0-9-]{1,40}\Z"),
    variant=st.sampled_from(Variant),
)  # fmt: skip


def made(spec: WorkerSpec, **more: Any) -> dict[str, Any]:
    settings = {"node": "did:key:z", "worker": "w", "seccomp": SECCOMP, "runtime": "", "gpu_cdi": False, **more}
    return hardening.container(spec, "sha256:" + "a" * 64, **settings)


@given(specs, st.sampled_from(["", "runsc"]), st.booleans())
def test_no_spec_opens_a_wall(spec, runtime, cdi):
    body = made(spec, runtime=runtime, gpu_cdi=cdi)
    host = body["HostConfig"]
    fixed = {
        "NetworkMode": "none", "ReadonlyRootfs": True, "Privileged": False, "CapAdd": [], "CapDrop": ["ALL"],
        "IpcMode": "private", "AutoRemove": False, "OomKillDisable": False, "CgroupnsMode": "private",
    }  # fmt: skip
    assert {key: host[key] for key in fixed} == fixed
    wider = [
        "Binds",
        "Devices",
        "PidMode",
        "UsernsMode",
        "UTSMode",
        "Sysctls",
        "VolumesFrom",
        "GroupAdd",
        "ExtraHosts",
        "DeviceCgroupRules",
        "PublishAllPorts",
        "PortBindings",
        "Links",
        "CgroupParent",
        "MaskedPaths",
        "ReadonlyPaths",
        "StorageOpt",
    ]
    assert not set(wider) & set(host)
    assert host["SecurityOpt"] == ["no-new-privileges", f"seccomp={SECCOMP}"]
    assert host["Memory"] == host["MemorySwap"] == spec.memory_bytes
    assert host["Tmpfs"] == {"/tmp": f"size={64 << 20},mode=1777,noexec,nosuid,nodev"}
    assert host["LogConfig"] == {"Type": "none", "Config": {}}
    assert host["PidsLimit"] == spec.pids + (256 if runtime else 0)
    (mount,) = host["Mounts"]
    assert set(mount) == MOUNT_KEYS
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == (str(spec.models), "/models", True)
    assert body["User"] == "65534:65534"
    assert ("DeviceRequests" in host) == (spec.gpu is not None)
    if spec.gpu is not None:
        (device,) = host["DeviceRequests"]
        assert len(device["DeviceIDs"]) == 1
        assert device["DeviceIDs"][0].endswith(spec.gpu)
        assert device.get("Count", 0) == 0, "never all devices"
    json.dumps(body)


def test_nothing_of_a_job_can_be_said_to_an_engine():
    """No type on the way to the engine shares a field with what a buyer sends, nor has room for one."""
    given_by_owner = {field.name: field.type for field in dataclasses.fields(WorkerSpec)}
    assert set(given_by_owner) == {
        "models", "memory_bytes", "cpu_milli", "pids", "threads", "gpu", "variant", "dtype", "compile", "weights_bytes",
    }  # fmt: skip
    assert not set(given_by_owner) & {field.name for field in dataclasses.fields(Run)}
    assert not hasattr(WorkerSpec(Path("/m"), 1 << 30), "__dict__"), "no attribute can be added on the way"


def inspected(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "HostConfig": copy.deepcopy(body["HostConfig"]),
        "Mounts": [{"Type": "bind", "Destination": "/models", "RW": False}],
        "Config": {"User": body["User"]},
    }


WEAKER: list[tuple[str, Any]] = [
    ("NetworkMode", "bridge"), ("ReadonlyRootfs", False), ("Privileged", True), ("CapAdd", ["SYS_ADMIN"]),
    ("CapDrop", None), ("CapDrop", ["NET_RAW"]), ("SecurityOpt", None),
    ("SecurityOpt", ["no-new-privileges", "seccomp=unconfined"]),
    ("SecurityOpt", ["no-new-privileges"]), ("PidsLimit", 0), ("PidsLimit", None), ("Memory", 0), ("NanoCpus", 0),
    ("Binds", ["/:/host"]), ("Devices", [{"PathOnHost": "/dev/sda"}]), ("VolumesFrom", ["x"]), ("Runtime", "runc"),
    ("DeviceRequests", None),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WEAKER)
def test_whatever_the_engine_weakens_is_noticed(key, value):
    body = made(WorkerSpec(Path("/m"), 1 << 30, gpu="GPU-1"), runtime="runsc")
    answer = inspected(body)
    assert list(hardening.differences(body, answer)) == []
    answer["HostConfig"][key] = value
    assert list(hardening.differences(body, answer))


@pytest.mark.parametrize(
    "mounts",
    [[], [{"Type": "bind", "Destination": "/models", "RW": True}],
     [{"Type": "bind", "Destination": "/models", "RW": False}, {"Type": "volume", "Destination": "/data", "RW": True}]],
)  # fmt: skip
def test_other_mounts_are_noticed(mounts):
    body = made(WorkerSpec(Path("/m"), 1 << 30))
    assert len(list(hardening.differences(body, {**inspected(body), "Mounts": mounts}))) == 1


def test_an_empty_answer_is_a_difference():
    assert len(list(hardening.differences(made(WorkerSpec(Path("/m"), 1 << 30)), {}))) > 5


@pytest.mark.parametrize(
    ("config", "fine"),
    [({}, True), ({"Env": None, "Volumes": None}, True), ({"Env": ["PATH=/bin", "PYTHONPATH=/opt"]}, True),
     ({"Env": ["NVIDIA_DRIVER_CAPABILITIES=compute,utility"]}, True),
     ({"Env": ["NVIDIA_DRIVER_CAPABILITIES=all"]}, False), ({"Env": ["NVIDIA_VISIBLE_DEVICES=all"]}, False),
     ({"Env": ["LD_PRELOAD=/evil.so"]}, False), ({"Env": ["LD_AUDIT"]}, False),
     ({"Env": ["GLIBC_TUNABLES=x"]}, False), ({"Volumes": {"/data": {}}}, False), ({"OnBuild": ["RUN x"]}, False)],
)  # fmt: skip
def test_images_that_reach_past_the_walls_are_refused(config, fine):
    assert (not list(hardening.image_problems(config))) is fine


def test_the_system_call_filter_denies_by_default():
    profile = json.loads(SECCOMP)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    never = [
        "mount",
        "umount2",
        "pivot_root",
        "ptrace",
        "process_vm_readv",
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "unshare",
        "setns",
        "kexec_load",
        "init_module",
        "finit_module",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "reboot",
        "swapon",
        "open_by_handle_at",
        "clone3",
        "clock_settime",
        "settimeofday",
        "iopl",
        "ioperm",
        "acct",
        "quotactl",
        "move_pages",
        "mbind",
    ]
    assert not allowed & set(never)
    limited = {rule["names"][0] for rule in profile["syscalls"] if rule.get("args")}
    assert {"clone", "socket"} <= limited
