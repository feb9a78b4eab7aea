"""Debian packages. ONE RULE: nothing is installed before it was named, and asked for where someone can answer."""

from __future__ import annotations

import os
import shutil
import sys

from house import Trouble, cache_dir, is_debian, is_root, run, say

# The command that must be there -> the package that brings it.
PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "runsc": "runsc",
}


def missing(commands: list[str]) -> list[str]:
    """The packages that would bring those commands which this machine lacks."""
    return sorted({PACKAGES[name] for name in commands if shutil.which(name) is None})


def possible() -> bool:
    return is_root() and is_debian() and shutil.which("apt-get") is not None


def agreed(packages: list[str], yes: bool) -> bool:
    """Say what would be installed and ask; without a terminal, or with --yes, go ahead."""
    print(f"To go on, these Debian packages would be installed: {' '.join(packages)}", flush=True)
    if yes or not sys.stdin.isatty():
        return True
    return input("Install them? [Y/n] ").strip().lower() in ("", "y", "yes")


def install(packages: list[str]) -> None:
    """Install packages without their recommendations, and remember which, for script/clean to name.

    Raises `Trouble` when apt fails.
    """
    if not possible():
        raise Trouble(
            f"these packages are missing: {' '.join(packages)}", f"as root: apt-get install {' '.join(packages)}"
        )
    say(f"installing {' '.join(packages)}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    try:
        run(command, env=env, log="apt", timeout=600)
    except Trouble:
        # The package lists of a fresh machine are empty or stale.
        run(["apt-get", "update"], env=env, log="apt-update", timeout=300)
        run(command, env=env, log="apt", timeout=600)
    note = cache_dir() / "apt-installed.txt"
    known = note.read_text().split() if note.exists() else []
    note.write_text("\n".join(sorted({*known, *packages})) + os.linesep)
