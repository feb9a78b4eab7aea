"""Which worker processes an earlier daemon left. Rule: a number alone names no process; its start time must fit too.

One small JSON file per worker, in the daemon's private folder. Process numbers are used again, so a file whose process
began at another time is only a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from gpufair.provider.workers.runtime import Leftover

SUFFIX = ".worker.json"
FILE_MAX = 4096


def started_at(pid: int) -> str | None:
    """When process `pid` began, as an opaque word that no other process of that number shares; None if there is none.

    A zombie counts as none: it has ended, and can't be ended again.
    """
    try:
        if Path("/proc/self/stat").exists():
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return None if words[0] in ("Z", "X") else f"{boot} {words[19]}"
        done = subprocess.run(  # noqa: S603 -- fixed words and a number
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
        )
        return done.stdout.strip() or None
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return None


class PidFiles:
    """The worker processes of one node, as files in `folder`."""

    def __init__(self, folder: Path, node: str) -> None:
        self._folder, self._node = folder, node

    def scratch(self, worker: str) -> Path:
        """The worker's private folder, made anew."""
        path = self._folder / f"{worker}.scratch"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700, parents=True)
        return path

    def note(self, worker: str, pid: int) -> None:
        """Remember that `pid` is this worker. Written whole or not at all."""
        path = self._folder / f"{worker}{SUFFIX}"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"node": self._node, "pid": pid, "started_at": started_at(pid)}))
        partial.replace(path)

    def forget(self, worker: str) -> None:
        """The worker has ended: remove its file and its folder."""
        shutil.rmtree(self._folder / f"{worker}.scratch", ignore_errors=True)
        (self._folder / f"{worker}{SUFFIX}").unlink(missing_ok=True)

    def leftovers(self) -> list[Leftover]:
        """Workers whose process still runs. Files of those that don't are removed."""
        found = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            worker = path.name.removesuffix(SUFFIX)
            pid = self._running(path)
            if pid is None:
                self.forget(worker)
            else:
                found.append(Leftover(worker, str(pid)))
        # A crash between making the folder and noting the process leaves a folder alone.
        for path in self._folder.glob("*.scratch"):
            if not (self._folder / f"{path.stem}{SUFFIX}").exists():
                shutil.rmtree(path, ignore_errors=True)
        return found

    def kill(self, worker: str) -> bool:
        """End the worker's whole process group, if the file still names a running process."""
        pid = self._running(self._folder / f"{worker}{SUFFIX}")
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        return True

    def running(self, worker: str) -> bool:
        """Whether the worker's process still runs."""
        return self._running(self._folder / f"{worker}{SUFFIX}") is not None

    def _running(self, path: Path) -> int | None:
        try:
            if path.stat().st_size > FILE_MAX:
                return None
            noted = json.loads(path.read_text())
            pid, began = noted["pid"], noted["started_at"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if not isinstance(pid, int) or isinstance(pid, bool) or pid < 2 or not isinstance(began, str):
            return None
        return pid if started_at(pid) == began else None
