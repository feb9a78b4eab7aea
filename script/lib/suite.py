"""`script/test`: everything, from nothing. ONE RULE: the engine is private, never the user's, and stops at the end.

Two lanes run side by side until the tests begin: the venv and the static checks, and the engine with its images.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import debian
import engine
import environment
import images
import wheels
from base_image import base_image
from engine import Engine
from house import ROOT, VENV, StepError, is_root, main, say

# `runsc` is the gVisor tier; not every release has it, and the tests of that tier then say so.
NEEDED, WISHED = ["dockerd", "docker", "debootstrap"], ["runsc"]
PROCESSES_MAX = 4
"""Test processes at most: each may hold a model and start nodes and containers of its own."""
CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy --strict": ["mypy", "-p", "gpufair"],
    "mypy, scripts": ["mypy", "--strict", "script/lib"],
    "import contracts": ["lint-imports"],
}


def install_engine() -> None:
    """Bring what a private engine needs. Raises `StepError`."""
    if why := engine.can_start_own():
        raise StepError(f"the Docker tests can't run: {why}", "run script/test as root on Debian or Ubuntu")
    if lacking := debian.missing(NEEDED + WISHED):
        debian.agreed(lacking, yes=True)
        try:
            debian.install(lacking)
        except StepError:
            required = debian.missing(NEEDED)
            say(f"not to be had here: {' '.join(debian.missing(WISHED))}")
            if required:
                debian.install(required)


def run_checks() -> list[str]:
    """Run the static checks; return the names of those that failed, their output printed."""
    failed = []
    for name, words in CHECKS.items():
        command = [str(VENV / "bin" / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        say(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}")
        if done.returncode:
            print((done.stdout + done.stderr).rstrip(), flush=True)
            failed.append(name)
    return failed


def side_by_side(args: list[str]) -> list[str]:
    """How many test processes: a file's tests stay together in one; the user's own `-n` or `-x` comes first.

    One more than there are cores: tests wait for disks, containers and silences for a good part of their time.
    Files go out in the order of tests/conftest.py, the slow rooms first, and not by how many tests they have.
    """
    if any(arg.startswith(("-n", "-x", "--pdb")) for arg in args):
        return []
    processes = min(len(os.sched_getaffinity(0)) + 1, PROCESSES_MAX)
    return ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]


def run_tests(args: list[str], env: dict[str, str]) -> int:
    """Run pytest and return its own exit code; its closing line is the last that is printed."""
    say("pytest")
    command = [str(environment.PYTHON), "-m", "pytest", *side_by_side(args), *args]
    variables = {**os.environ, **env}
    # The tests start a hundred Pythons: with no bytecode on disk each of them would compile the house anew.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode


def prepare_engine(stack: contextlib.ExitStack, python: Callable[[], Path]) -> dict[str, str]:
    """The private engine and its images, as the variables that the tests read. `python` waits for the venv's."""
    install_engine()
    private = stack.enter_context(engine.private_engine("test"))
    base_image(private, yes=True)
    base, worker = images.worker_image(private, python(), build=wheels.flavour(), yes=True)
    say(f"engine and images are ready: {private.host}")
    return variables(private, base, worker)


def variables(private: Engine, base: str, worker: str) -> dict[str, str]:
    return {
        # DOCKER_HOST too, so that nothing in a test can fall back on the user's engine.
        "DOCKER_HOST": private.host,
        "GPUFAIR_TEST_DOCKER_HOST": private.host,
        "GPUFAIR_TEST_BASE_IMAGE": base,
        "GPUFAIR_TEST_WORKER_IMAGE": worker,
    }


def body(args: list[str]) -> int:
    long = "--long" in args
    words = [arg for arg in args if arg not in ("--long", "--yes")]
    # Inference with more threads than free cores is several times slower.
    env = {"OMP_NUM_THREADS": "1"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as lanes:
        made: Future[Path] = lanes.submit(environment.ensure)
        engine_lane = lanes.submit(prepare_engine, stack, made.result)
        made.result()
        failed = run_checks()
        try:
            env |= engine_lane.result()
        except StepError as trouble:
            if is_root():
                raise
            say(f"going on without Docker: {trouble.what}")
        if failed:
            say(f"FAILED before the tests: {', '.join(failed)}; this run can't pass")
        # pyproject.toml leaves the long tests out; an empty choice takes all.
        code = run_tests([*(["-m", ""] if long else []), *words], env)
    return code or int(bool(failed))


if __name__ == "__main__":
    main(body)
