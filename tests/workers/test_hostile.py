"""Hostile workers in real containers: limits really hit, the machine is unharmed, the caller is told, work goes on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gpufair.protocol.errors import printable
from gpufair.provider.workers.docker import DockerRuntime
from gpufair.provider.workers.hardening import SCRATCH_BYTES, SHM_BYTES
from gpufair.provider.workers.outcome import WorkerFailedError
from gpufair.provider.workers.runtime import LABEL_NODE

NODE = f"did:test:hostile:{os.getpid()}"


@pytest.fixture
def hostile(hostile_image, docker_host, engine, spec, tools):
    """A pool over containers of hostile.py, and what to ask of it; nothing of it is left in the engine afterwards."""

    @asynccontextmanager
    async def open_pool(*, gvisor=False, **times):
        runtime = await DockerRuntime.connect(node=NODE, image=hostile_image, host=docker_host, gvisor=gvisor)
        pool = tools.pool(runtime, spec, times=tools.Times(**{"start_ms": 60_000, "silence_ms": 10_000, **times}))
        try:
            assert tools.is_picture(await tools.collect(pool, tools.order()))
            yield pool
            # Whatever was done: the next job is served, by another worker if need be.
            assert tools.is_picture(await tools.collect(pool, tools.order()))
        finally:
            await pool.close()
            await runtime.close()
        assert containers(engine) == []

    return open_pool


def containers(engine, **more):
    return engine.containers(all=True, filters={"label": f"{LABEL_NODE}={NODE}"}, **more)


async def told(pool, tools, what):
    """What a worker that looked around has written to its log, as JSON."""
    failed = await tools.failure(pool, tools.order(what))
    assert failed.code is tools.Failure.INTERNAL, failed
    return json.loads(failed.log.strip().splitlines()[-1])


@pytest.mark.parametrize("gvisor", [False, True], ids=["runc", "runsc"])
def test_fork_bomb(gvisor, hostile, engine, spec, tools):
    async def scenario():
        async with hostile(silence_ms=4_000, gvisor=gvisor) as pool:
            before = len(containers(engine))
            failing = asyncio.create_task(tools.failure(pool, tools.order("fork_bomb")))
            most = 0
            while not failing.done():
                await asyncio.sleep(0.3)
                if not gvisor:
                    most = max(most, await asyncio.to_thread(processes, engine))
                # The machine still starts programs, quickly.
                began = time.monotonic()
                subprocess.run([sys.executable, "-S", "-c", ""], check=True, timeout=20)
                assert time.monotonic() - began < 15
            failed = await failing
            # Memory may run out before processes do, and gVisor's own kernel dies with either.
            assert failed.code in (tools.Failure.SILENT, tools.Failure.DIED, tools.Failure.OUT_OF_MEMORY)
            assert before == 1
            if not gvisor:  # which shows none of what runs in it
                assert spec.pids - 4 <= most <= spec.pids, "the bomb went off, and the limit held it"

    asyncio.run(scenario())


def processes(engine):
    try:
        return max((len(engine.top(c["Id"])["Processes"]) for c in containers(engine)), default=0)
    except Exception:
        return 0  # it ended while we looked


@pytest.mark.parametrize("gvisor", [False, True], ids=["runc", "runsc"])
def test_memory_hog(gvisor, hostile, tools):
    async def scenario():
        async with hostile(gvisor=gvisor) as pool:
            least = available()
            failing = asyncio.create_task(tools.failure(pool, tools.order("memory_hog")))
            free_before = available()
            while not failing.done():
                least = min(least, available())
                await asyncio.sleep(0.05)
            failed = await failing
            assert failed.code is tools.Failure.OUT_OF_MEMORY or gvisor
            assert failed.code in (tools.Failure.OUT_OF_MEMORY, tools.Failure.DIED)
            # 256 MiB were granted; the rest is what else goes on on this machine.
            assert free_before - least < 2 << 30

    asyncio.run(scenario())


def available():
    with Path("/proc/meminfo").open() as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


def test_disk_filler(hostile, engine, tools):
    async def scenario():
        async with hostile(silence_ms=60_000) as pool:
            found = await told(pool, tools, "disk_filler")
            assert found["/tmp"][1] == "ENOSPC"
            assert found["/tmp"][0] <= SCRATCH_BYTES
            assert found["/dev/shm"][1] == "ENOSPC"
            assert found["/dev/shm"][0] <= SHM_BYTES
            for folder in ("/", "/var/tmp", "/run", "/models", "/home", "/etc", "/proc/sys/kernel", "/dev"):
                assert found[folder][0] == 0, found
                assert found[folder][1] in ("EROFS", "EACCES", "ENOENT"), found
            (container,) = await asyncio.to_thread(containers, engine, size=True)
            assert container.get("SizeRw", 0) == 0, "nothing reached the owner's disk"

    asyncio.run(scenario())


def test_network_user(hostile, tools):
    async def scenario():
        async with hostile() as pool:
            found = await told(pool, tools, "network_user")
            assert {found[kind] for kind in ("tcp", "udp6", "netlink", "packet", "vsock", "raw")} == {"EPERM"}
            assert {found[path] for path in ("/var/run/docker.sock", "/run/docker.sock")} == {"ENOENT"}
            assert found["interfaces"] == ["lo"]

    asyncio.run(scenario())


def test_network_user_under_gvisor(hostile, tools):
    async def scenario():
        async with hostile(gvisor=True) as pool:
            found = await told(pool, tools, "network_user")
            assert "through" not in json.dumps(found)
            assert set(found["interfaces"]) <= {"lo"}

    asyncio.run(scenario())


def test_snoop_finds_every_door_shut(hostile, tools):
    async def scenario():
        async with hostile() as pool:
            found = await told(pool, tools, "snoop")
            status = found["status"]
            assert status["Uid"].split() == ["65534"] * 4
            assert {status[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            for door in ("unshare user", "mount", "ptrace", "chroot", "setuid", "io_uring", "bpf", "keyctl"):
                assert found[door] == "EPERM", found
            assert found["run from tmp"] == "EACCES"
            assert found["models"] == [tools.MODEL.hex()]
            assert not [
                name for name in found["devices"] if name.startswith(("sd", "vd", "nvme", "kvm", "kmsg", "mem"))
            ]
            ours = {"HOME", "TMPDIR", "USER", "LOGNAME", "LANG", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS"}
            theirs = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PATH", "HOSTNAME", "LC_CTYPE", "PWD"}
            assert set(found["environment"]) <= ours | theirs
            assert found["processes"] <= 3

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("misdeed", "code"),
    [("garbage", "LIED"), ("oversized", "LIED"), ("truncated", "LIED"), ("log_flood", "LIED"), ("dies", "DIED"),
     ("silent", "SILENT"), ("closes", "SILENT")],
)  # fmt: skip
def test_liar_in_a_container(misdeed, code, hostile, tools):
    async def scenario():
        async with hostile(silence_ms=4_000) as pool:
            failed = await tools.failure(pool, tools.order(misdeed))
            assert failed.code is tools.Failure[code], failed
            assert failed.message == printable(failed.message)
            if misdeed == "dies":
                assert "status 7" in failed.message

    asyncio.run(scenario())


def test_flood_without_credit_in_a_container(hostile, tools):
    async def scenario():
        async with hostile() as pool:

            async def paused():
                run = pool.run(tools.order("flood", steps=2_000))
                await anext(run)
                while pool._places[0].warm.worker.alive:
                    await asyncio.sleep(0.02)
                return [event async for event in run]

            with pytest.raises(WorkerFailedError, match="credit of") as caught:
                await paused()
            assert caught.value.code is tools.Failure.LIED

    asyncio.run(scenario())
