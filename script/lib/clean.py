"""`script/clean`: takes away what the scripts brought. ONE RULE: only what they made, and each thing named.

Kept unless asked for: the wheels (`--all`), which are slow to fetch again, and Debian's packages (`--purge`), which
something else may use by now. `--list` only names things.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import debian
import engine
from house import ROOT, StepError, cache_dir, is_root, main, run, say

IMAGES = ("gpufair-worker", "gpufair-packages", "gpufair-base")
IN_CHECKOUT = (
    ".venv", "build", "dist", "gpufair.egg-info", "demo-out", "market-demo-out",
    ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache",
)  # fmt: skip
OPTIONS = {"--all", "--purge", "--list", "--yes"}


def folders(*, everything: bool) -> Iterator[Path]:
    """The folders and files of ours that exist."""
    names = [ROOT / name for name in IN_CHECKOUT]
    names += [path for path in cache_dir().iterdir() if path.name not in ("wheels", "engines", debian.NOTE)]
    if everything:
        names.append(cache_dir() / "wheels")
    yield from (path for path in names if path.exists())
    for room in ("protocol", "provider", "client", "tests", "script", "benchmarks"):
        yield from (ROOT / room).rglob("__pycache__")


def users_images() -> tuple[engine.Engine, list[str]] | None:
    """Our images in the user's engine, if it answers and has any."""
    found = engine.users_engine()
    if found is None:
        return None
    with contextlib.suppress(StepError):
        tags: list[str] = []
        for name in IMAGES:
            tags += found.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name).split()
        if tags:
            return found, tags
    return None


def body(args: list[str]) -> int:
    if unknown := set(args) - OPTIONS:
        raise StepError(f"script/clean doesn't know {' '.join(sorted(unknown))}", f"use {' '.join(sorted(OPTIONS))}")
    act = "--list" not in args
    for home in sorted(path for path in cache_dir("engines").iterdir() if path.is_dir()):
        say(f"engine {home.name}: its containers, its images, {home}")
        if act:
            engine.OwnEngine(home.name).remove()
    if ours := users_images():
        where, tags = ours
        say(f"in your engine: {' '.join(tags)}")
        if act:
            where.docker("image", "rm", *tags)
    for path in folders(everything="--all" in args):
        if path.name != "__pycache__":
            say(str(path))
        if act:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    _packages(purge="--purge" in args and act)
    if act:
        _drop_if_empty(cache_dir("engines"))
        _drop_if_empty(cache_dir())
    return 0


def _packages(*, purge: bool) -> None:
    brought = debian.brought()
    if not brought:
        return
    if not purge:
        say(f"Debian's packages stay (--purge removes them): {' '.join(brought)}")
        return
    if not is_root():
        raise StepError("removing packages needs root", f"as root: apt-get purge {' '.join(brought)}")
    say(f"removing {' '.join(brought)}")
    run(["apt-get", "purge", "-y", *brought], env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=600)
    (cache_dir() / debian.NOTE).unlink()


def _drop_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


if __name__ == "__main__":
    main(body)
