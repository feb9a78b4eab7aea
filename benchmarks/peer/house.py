"""Where the peers live. ONE RULE: their packages lie in a venv of their own in the benchmark's folder, never in ours.

Redis comes out of Debian's packages, unpacked and not installed; one that is on the path is taken as it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.running import NotHereError, say

PACKAGES = ("ray==2.60.0", "celery==5.7.0", "redis==8.1.0")
DEBS = ("redis-tools", "redis-server", "libjemalloc2", "liblzf1", "libatomic1")
PATIENCE_S = 300.0


def venv(folder: Path) -> Path:
    """Python with the peers' packages. Raises NotHereError where they can't be had."""
    say("peers: a venv with " + ", ".join(PACKAGES))
    _must("no venv for the peers", sys.executable, "-m", "venv", str(folder))
    python = folder / "bin" / "python"
    _must("the peers' packages can't be had", str(python), "-m", "pip", "install", "-q", *PACKAGES)
    return python


def redis(folder: Path) -> tuple[str, dict[str, str]]:
    """A redis-server and the variables that it runs with. Raises NotHereError where there is none to be had."""
    if found := shutil.which("redis-server"):
        return found, {}
    folder.mkdir()
    say("peers: Debian's redis-server, unpacked and not installed")
    _must("there is no redis-server", "apt-get", "download", *DEBS, cwd=folder)
    for package in sorted(folder.glob("*.deb")):
        _must("redis-server can't be unpacked", "dpkg-deb", "-x", str(package), str(folder / "root"))
    libraries = sorted({str(path.parent) for path in (folder / "root").rglob("*.so.*")})
    return str(folder / "root/usr/bin/redis-server"), {"LD_LIBRARY_PATH": ":".join(libraries)}


@contextlib.contextmanager
def redis_running(program: str, env: dict[str, str], folder: Path, *, lasting: bool) -> Iterator[str]:
    """A server on loopback, as a URL. `lasting`: each write is on disk before it is answered, as with us."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    words = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    words += ["--appendonly", "yes", "--appendfsync", "always"] if lasting else ["--appendonly", "no"]
    with (folder / "log").open("wb") as log, ended(subprocess.Popen([program, *words], env=env, stdout=log)) as server:
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if server.poll() is not None or time.monotonic() > until:
                raise NotHereError(f"redis-server does not answer: {(folder / 'log').read_text()[-300:]}")
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when the block ends."""
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def _must(what: str, *words: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHereError(f"{what}: {error}") from error
    if done.returncode:
        raise NotHereError(f"{what}: {(done.stderr or done.stdout).strip()[-300:]}")
