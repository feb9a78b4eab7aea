"""How long a newcomer waits. ONE RULE: each run is of a fresh clone's own script/demo, nothing brought along but the
cache.

Bare: the first run in a fresh clone with an empty cache of its own, so that wheels, base image and worker image are
made. Warm: the same command again. Neither has a peer; the goal is for the warm one.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.rows import Row, Samples
from benchmarks.running import NotHereError, Options

ROOT = Path(__file__).resolve().parents[1]
GOAL_S = 15.0


def run(options: Options) -> Iterator[Row]:
    """The rows. With --quick the user's own cache serves the first run."""
    clone = options.folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    env = {**os.environ, "DEMO_OUT": str(options.folder)}
    if not options.quick:
        env["XDG_CACHE_HOME"] = str(options.folder / "cache")
    try:
        with machine.watched() as state:
            bare = _demo(clone, env)
        yield Row("demo.bare", bare, None, "s", detail={"own_cache": not options.quick, "machine": state})
        with machine.watched() as state:
            warm = Samples([_demo(clone, env) for _ in range(options.rounds(3, 1))])
        detail = {"warm_s": warm.summary(), "machine": state}
        yield Row("demo.warm", warm.median, None, "s", f"≤ {GOAL_S:g} s", warm.median <= GOAL_S, detail)
    finally:
        if not options.quick:
            subprocess.run([str(clone / "script" / "clean")], env=env, check=False, capture_output=True)


def _demo(clone: Path, env: dict[str, str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        ["script/demo", "--yes"], cwd=clone, env=env, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    took = time.perf_counter() - start
    if done.returncode:
        raise NotHereError(f"script/demo ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-400:]}")
    return took
