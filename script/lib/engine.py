"""The Docker engine. ONE RULE: the user's engine is used and never reconfigured; ours lives in folders of its own.

`python script/lib/engine.py up|down|status NAME` drives one of our own engines by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cgroups
import debian
from house import StepError, cache_dir, digest, is_root, main, run, say, succeeds

READY_SECONDS = 60


@dataclass(frozen=True)
class Engine:
    """One engine's address: `host` as in DOCKER_HOST."""

    host: str

    def docker(self, *args: str | Path, log: str = "", timeout: float | None = None) -> str:
        """Run the docker client against this engine and return what it printed. Raises `StepError`."""
        # The classic builder: it is in every engine, and Debian ships no buildx.
        env = {"DOCKER_BUILDKIT": "0"}
        return run(["docker", "-H", self.host, *args], env=env, log=log, timeout=timeout).stdout

    def answers(self) -> bool:
        """Whether a daemon speaks at that address."""
        return succeeds(["docker", "-H", self.host, "version", "--format", "{{.Server.Version}}"], timeout=15)


def users_engine() -> Engine | None:
    """The engine that `docker info` finds by itself, or None."""
    if shutil.which("docker") is None:
        return None
    if not succeeds(["docker", "version", "--format", "{{.Server.Version}}"], timeout=15):
        return None
    host = os.environ.get("DOCKER_HOST") or ""
    if not host:
        with contextlib.suppress(StepError):
            host = run(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]).stdout.strip()
    return Engine(host or "unix:///var/run/docker.sock")


class OwnEngine:
    """An engine of ours: data in the cache folder, sockets and pid file in a short path under /run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.home = cache_dir("engines", name)
        # Socket paths end at 107 bytes, so they can't lie under a cache folder of any length.
        base = Path("/run") if os.access("/run", os.W_OK) else Path("/tmp")  # noqa: S108 -- a short name, and our own mode
        self.run_dir = base / f"gpufair-{digest([str(self.home)])[:8]}"
        self.socket = self.run_dir / "docker.sock"
        self.pidfile = self.run_dir / "docker.pid"
        self.engine = Engine(f"unix://{self.socket}")

    def process(self) -> int | None:
        """The pid of our running dockerd. A stale pid file whose number another program now has doesn't count."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.pidfile.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if f"--data-root={self.home / 'data'}".encode() in words:
                return pid
        return None

    def up(self) -> Engine:
        """Start it, or find it running; one that died half-way or hangs is cleared away first. Raises `StepError`."""
        if self.process() and self.engine.answers():
            return self.engine
        self.clear()
        cgroups.prepare()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        say(f"starting an engine of our own ({self.name})")
        log = (self.home / "dockerd.log").open("wb")
        with log:
            child = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.socket.exists() and self.engine.answers():
                return self.engine
            if child.poll() is not None:
                break
            time.sleep(0.2)
        tail = (self.home / "dockerd.log").read_text(errors="replace").splitlines()[-8:]
        self.clear()
        raise StepError("dockerd did not come up:\n    " + "\n    ".join(tail), f"read {self.home / 'dockerd.log'}")

    def _command(self) -> list[str]:
        config: dict[str, object] = {"log-driver": "local"}
        if runsc := shutil.which("runsc"):
            # Old gVisor: it refuses the network without --network=none, and --platform=kvm spins for ever.
            arguments = ["--network=none", "--platform=ptrace"]
            config["runtimes"] = {"runsc": {"path": runsc, "runtimeArgs": arguments}}
        path = self.home / "daemon.json"
        path.write_text(json.dumps(config, indent=2))
        namespace = self.run_dir.name
        return [
            "dockerd",
            f"--config-file={path}",
            f"--data-root={self.home / 'data'}",
            f"--exec-root={self.run_dir / 'exec'}",
            f"--pidfile={self.pidfile}",
            f"--host={self.engine.host}",
            # A system containerd, where there is one, must not mix our containers with another engine's.
            f"--containerd-namespace={namespace}",
            f"--containerd-plugins-namespace={namespace}-plugins",
            # No bridge and no firewall rules: workers have no network, and the machine's rules aren't ours.
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--log-level=warn",
        ]

    def down(self) -> bool:
        """Stop it with its containers. True when there was one to stop."""
        pid = self.process()
        if pid is None:
            self.clear()
            return False
        _end(pid, signal.SIGTERM, 20)
        self.clear()
        return True

    def clear(self) -> None:
        """Remove what a dead engine left: its processes (known by our paths), its mounts, its pid file and socket."""
        pid = self.process()
        if pid is not None:
            _end(pid, signal.SIGTERM, 10)
        # What ran inside first: without its shim a container's process would go on for ever, known to nobody.
        for stray in _processes_of(self.home / "data" / "containers") + _processes_naming(str(self.run_dir / "exec")):
            _end(stray, signal.SIGKILL, 5)
        for mount in reversed(_mounts_under([self.run_dir, self.home])):
            succeeds(["umount", "-l", mount])
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def remove(self) -> None:
        """Stop it and delete all that it stored."""
        self.down()
        shutil.rmtree(self.home, ignore_errors=True)


def _end(pid: int, how: signal.Signals, patience: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and _alive(pid):
            time.sleep(0.1)
        if _alive(pid):
            os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    """Whether a process still runs (a zombie that its parent has not read does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _processes_naming(path: str) -> list[int]:
    """Processes that have our private path in their command line: our containerd and its shims, nobody else's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if any(word.startswith(path.encode()) for word in (entry / "cmdline").read_bytes().split(b"\0")):
                    found.append(int(entry.name))
    return found


def _processes_of(containers: Path) -> list[int]:
    """Processes whose control group bears the id of a container of this engine."""
    ids = [path.name for path in containers.iterdir()] if containers.is_dir() else []
    found = []
    for entry in Path("/proc").iterdir():
        if ids and entry.name.isdigit():
            with contextlib.suppress(OSError):
                groups = (entry / "cgroup").read_text()
                if any(name in groups for name in ids):
                    found.append(int(entry.name))
    return found


def _mounts_under(folders: list[Path]) -> list[str]:
    with contextlib.suppress(OSError):
        points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [p for p in points if any(p == str(f) or p.startswith(f"{f}/") for f in folders)]
    return []


def can_start_own() -> str:
    """Why no engine of our own can be started here, or an empty string."""
    if not is_root():
        return "starting an engine needs root"
    lacking = debian.missing(["dockerd", "docker"])
    if lacking and not debian.possible():
        return f"{' '.join(lacking)} can't be installed by apt here"
    return ""


@contextlib.contextmanager
def private_engine(prefix: str) -> Iterator[Engine]:
    """A private engine for one test run, stopped at the end. A second run at the same time gets the next number.

    Its data folder is kept, so that images are there next time; containers of an earlier run are removed.
    """
    for number in range(16):
        own = OwnEngine(f"{prefix}-{number}")
        with (own.home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            try:
                engine = own.up()
                if left := engine.docker("ps", "-aq").split():
                    engine.docker("rm", "-f", *left)
                yield engine
            finally:
                own.down()
            return
    raise StepError("sixteen test runs hold an engine each already", "wait for one to end, or run script/clean")


def body(args: list[str]) -> int:
    if len(args) != 2 or args[0] not in ("up", "down", "status"):
        raise StepError(f"engine.py doesn't know {' '.join(args)!r}", "python script/lib/engine.py up|down|status NAME")
    own = OwnEngine(args[1])
    if args[0] == "up":
        print(own.up().host)
    elif args[0] == "down":
        say("stopped" if own.down() else "was not running")
    else:
        print(own.engine.host if own.process() else "not running")
    return 0


if __name__ == "__main__":
    main(body)
