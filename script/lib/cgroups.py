"""Control groups for an engine of ours. ONE RULE: only what is missing, and only without systemd."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from house import succeeds

TREE = Path("/sys/fs/cgroup")


def prepare() -> None:
    """Let dockerd find its controllers on a machine without systemd: v1 mounted by hand, or v2 opened for children."""
    if Path("/run/systemd/system").exists():
        return
    if (TREE / "cgroup.controllers").exists():
        _open_v2()
    elif not any(TREE.glob("*/tasks")):
        _mount_v1()


def _open_v2() -> None:
    """Version 2 gives controllers to children only when the root group holds no process itself."""
    control = TREE / "cgroup.subtree_control"
    wanted = (TREE / "cgroup.controllers").read_text().split()
    if not os.access(control, os.W_OK) or set(wanted) <= set(control.read_text().split()):
        return
    home = TREE / "init"
    with contextlib.suppress(OSError):
        home.mkdir(exist_ok=True)
        for pid in (TREE / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (home / "cgroup.procs").write_text(pid)
    for name in wanted:
        with contextlib.suppress(OSError):
            control.write_text(f"+{name}")


def _mount_v1() -> None:
    if not os.path.ismount(TREE):
        succeeds(["mount", "-t", "tmpfs", "-o", "uid=0,gid=0,mode=0755", "cgroup", str(TREE)])
    with contextlib.suppress(OSError):
        for line in Path("/proc/cgroups").read_text().splitlines()[1:]:
            name, _, _, enabled = line.split()
            if enabled == "1":
                (TREE / name).mkdir(exist_ok=True)
                succeeds(["mount", "-t", "cgroup", "-o", name, "cgroup", str(TREE / name)])
