"""`script/demo` and `script/market-demo`: bring up what they need. ONE RULE: what can't be had is said.

The user's engine is used as it is; an engine of ours, if there is none and one can be started; else plain processes.
"""

from __future__ import annotations

import os

import debian
import engine
import environment
import images
import wheels
from engine import Engine
from house import ROOT, StepError, main, say

NAME = "demo"


def find_engine(*, yes: bool) -> Engine:
    """The user's engine, or one of our own. Raises `StepError` with the reason why there is none."""
    if found := engine.users_engine():
        say(f"engine: yours, at {found.host}")
        return found
    if why := engine.can_start_own():
        raise StepError(f"no Docker engine answers, and {why}")
    if lacking := debian.missing(["dockerd", "docker", "iptables"]):
        if not debian.agreed(lacking, yes=yes):
            raise StepError("no Docker engine answers, and none was to be installed")
        debian.install(lacking)
        # Where an init system started what was just installed, that engine is as good as the user's.
        if found := engine.users_engine():
            return found
    own = engine.OwnEngine(NAME)
    running = own.up()
    say(f"engine: our own, at {running.host}; it stays up for the next run, and script/clean stops it")
    return running


def runtime(*, yes: bool) -> dict[str, str]:
    """The variables that tell demo.py where work runs: in a container, or, with the reason printed, in a process."""
    try:
        found = find_engine(yes=yes)
        _, worker = images.worker_image(found, environment.PYTHON, build=wheels.flavour(), yes=yes)
    except StepError as error:
        say(f"no container: {error.what}")
        say("the demo runs its worker as a plain process; the offer will say isolation `none`")
        return {"GPUFAIR_RUNTIME": "process"}
    return {"GPUFAIR_RUNTIME": "docker", "DOCKER_HOST": found.host, "GPUFAIR_WORKER_IMAGE": worker}


def body(args: list[str]) -> int:
    words = [arg for arg in args if not arg.startswith("--")]
    script = "market_demo.py" if "--market" in args else "demo.py"
    python = str(environment.ensure())
    env = {**os.environ, **runtime(yes="--yes" in args)}
    os.execve(python, [python, str(ROOT / "script" / "lib" / script), *words], env)  # noqa: S606 -- one process, so that signals reach the demo


if __name__ == "__main__":
    main(body)
