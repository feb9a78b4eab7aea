"""The process adapter: what its worker is given, what bounds it, and that it never outlives its daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpufair.protocol.errors import LocalError
from gpufair.protocol.frames import VERSION, Hello, Ready
from gpufair.provider.workers.child import Child
from gpufair.provider.workers.pidfiles import PidFiles, started_at
from gpufair.provider.workers.process import ProcessRuntime, environment, own_code_digest
from gpufair.provider.workers.runtime import Variant, WorkerSpec

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
DAEMON = """
import asyncio, sys
from pathlib import Path
from gpufair.protocol.frames import VERSION, Hello, Ready
from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Variant, WorkerSpec
async def main():
    runtime = ProcessRuntime("did:test", Path(sys.argv[1]))
    spec = WorkerSpec(models=Path(sys.argv[1]), memory_bytes=256 << 20, variant=Variant.NULL)
    for name in ("one", "two"):
        worker = await runtime.start(spec, name)
        await worker.send(Hello(VERSION, b"n" * 16, 1, "auto"))
        assert isinstance(await worker.receive(), Ready)
    print("up", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def null(spec):
    return WorkerSpec(models=spec.models, memory_bytes=spec.memory_bytes, threads=3, variant=Variant.NULL)


async def ready(worker):
    await worker.send(Hello(VERSION, b"n" * 16, 1, "auto"))
    assert isinstance(await worker.receive(), Ready)


@linux
def test_what_a_worker_inherits(tmp_path, null, monkeypatch):
    monkeypatch.setenv("GPUFAIR_SECRET", "canary-5151")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:canary-5151@proxy")

    async def scenario():
        runtime = ProcessRuntime("did:test", tmp_path)
        worker = await runtime.start(null, "w1")
        await ready(worker)
        proc = Path(f"/proc/{worker._child.pid}")
        found = dict(entry.split("=", 1) for entry in (proc / "environ").read_text().split("\0") if entry)
        assert found == environment(null, tmp_path / "workers" / "w1.scratch")
        assert found["OMP_NUM_THREADS"] == "3"
        assert found["CUDA_VISIBLE_DEVICES"] == ""
        assert "canary" not in str(found)
        assert str((proc / "cwd").readlink()) == found["HOME"]
        assert os.getsid(worker._child.pid) == worker._child.pid != os.getsid(0)
        limits = {line[:25].strip(): line[26:].split()[0] for line in (proc / "limits").read_text().splitlines()}
        assert limits["Max core file size"] == "0"
        assert limits["Max file size"] == str(16 << 20)
        assert limits["Max open files"] == "1024"
        assert int(limits["Max data size"]) == null.memory_bytes + (1 << 30)
        assert (proc / "oom_score_adj").read_text().strip() == "500"
        # Of the daemon's open files it has none but its three streams (and what Python opens itself).
        opened = {entry.name: str(entry.readlink()) for entry in (proc / "fd").iterdir()}
        assert all(opened[stream].startswith(("socket:", "/dev/null")) for stream in ("0", "1", "2"))
        assert not [target for target in opened.values() if target.startswith(str(tmp_path))]
        await worker.kill()
        assert worker.exit is not None
        assert worker.exit.status == -signal.SIGKILL
        assert list((tmp_path / "workers").iterdir()) == []

    asyncio.run(scenario())


@linux
def test_a_killed_daemon_leaves_no_worker(tmp_path):
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "up\n"
        files = sorted((tmp_path / "workers").glob("*.worker.json"))
        pids = [json.loads(path.read_text())["pid"] for path in files]
        assert len(pids) == 2
        assert all(started_at(pid) for pid in pids)
        os.kill(pids[0], signal.SIGSTOP)  # one that can't see its stdin close, as one deep in a computation can't
    finally:
        daemon.kill()
        daemon.wait()
    end = time.monotonic() + 10
    while any(started_at(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(started_at(pid) for pid in pids)

    async def restart():
        assert await ProcessRuntime("did:test", tmp_path).leftovers() == []

    asyncio.run(restart())
    assert list((tmp_path / "workers").iterdir()) == []


@linux
def test_a_worker_whose_parent_is_another_does_not_start(tmp_path, null):
    launcher = Path(sys.modules[ProcessRuntime.__module__].__file__ or "").with_name("launch.py")
    done = subprocess.run([sys.executable, str(launcher), "1", "0", Variant.NULL.value], input=b"", timeout=20)
    assert done.returncode == 5, "its daemon died before it could tie itself to it"


def test_a_reused_process_number_is_not_killed(tmp_path):
    files = PidFiles(tmp_path, "did:test")
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        files.note("old", innocent.pid)
        assert [left.worker for left in files.leftovers()] == ["old"]
        path = tmp_path / "old.worker.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "started_at": "long ago"}))
        assert not files.kill("old")
        assert files.leftovers() == []
        assert not path.exists()
        assert innocent.poll() is None
    finally:
        innocent.communicate(b"\n")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"pid": true, "started_at": "x"}', '{"pid": 1, "started_at": "x"}',
     '{"pid": -5, "started_at": "x"}',
     '{"pid": "7", "started_at": "x"}', '{"pid": 7}', '{"pid": 1e3, "started_at": ""}', "\x00" * 9000],
)  # fmt: skip
def test_a_broken_pid_file_names_nobody(text, tmp_path):
    (tmp_path / "bad.worker.json").write_text(text)
    assert PidFiles(tmp_path, "did:test").leftovers() == []


def test_a_worker_id_can_not_leave_the_folder(tmp_path, null):
    with pytest.raises(LocalError):
        asyncio.run(ProcessRuntime("did:test", tmp_path).start(null, "../evil"))


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) if sys.platform == "linux" else 0


def test_a_program_that_is_not_there(tmp_path):
    before = open_files()
    with pytest.raises(OSError, match="nothing-here"):
        Child(["/nothing-here"], tmp_path, {})
    if before:
        assert open_files() == before


def test_the_digest_names_our_code():
    assert own_code_digest() == own_code_digest()
    assert len(own_code_digest()) == 32


@pytest.mark.parametrize(
    "wrong",
    [{"models": Path("relative")}, {"memory_bytes": 1}, {"cpu_milli": 0}, {"pids": 0}, {"threads": -1}, {"gpu": ""},
     {"gpu": "GPU-1,GPU-2"}, {"gpu": "all;rm"}, {"gpu": "é"}, {"gpu": "x" * 81}],
)  # fmt: skip
def test_a_spec_is_checked(wrong, spec):
    fields = {name: getattr(spec, name) for name in ("models", "memory_bytes")}
    with pytest.raises(ValueError, match=r".+"):
        WorkerSpec(**{**fields, **wrong})
