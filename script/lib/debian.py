"""Debian packages. ONE RULE: nothing is installed before it was named, and asked for where someone can answer."""

from __future__ import annotations

import shutil
import sys

from house import StepError, cache_dir, is_debian, is_root, run, say

NOTE = "apt-installed.txt"  # in the cache folder
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


def agreed(packages: list[str], *, yes: bool) -> bool:
    """Say what would be installed and ask; without a terminal, or with --yes, go ahead."""
    print(f"To go on, these Debian packages would be installed: {' '.join(packages)}", flush=True)
    if yes or not sys.stdin.isatty():
        return True
    return input("Install them? [Y/n] ").strip().lower() in ("", "y", "yes")


def install(packages: list[str]) -> None:
    """Install packages without their recommendations, and remember which, for script/clean to name.

    Raises `StepError` when apt fails.
    """
    if not possible():
        raise StepError(
            f"these packages are missing: {' '.join(packages)}", f"as root: apt-get install {' '.join(packages)}"
        )
    say(f"installing {' '.join(packages)}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    try:
        run(command, env=env, log="apt", timeout=600)
    except StepError:
        # The package lists of a fresh machine are empty or stale.
        run(["apt-get", "update"], env=env, log="apt-update", timeout=300)
        run(command, env=env, log="apt", timeout=600)
    (cache_dir() / NOTE).write_text("\n".join(sorted({*brought(), *packages})) + "\n")


def brought() -> list[str]:
    """The packages that the scripts have installed on this machine."""
    note = cache_dir() / NOTE
    return note.read_text().split() if note.exists() else []
