"""`script/engine up|down`: the tests' engine, kept running while you work. ONE RULE: stdout is for `eval` alone."""

from __future__ import annotations

import contextlib
import shlex
import sys

import engine
import environment
import images
import suite
import wheels
from house import StepError, main, say

NAME = "dev"


def body(args: list[str]) -> int:
    own = engine.OwnEngine(NAME)
    if args == ["down"]:
        say("stopped" if own.down() else "was not running")
        return 0
    if args != ["up"]:
        raise StepError("script/engine takes one word", 'eval "$(script/engine up)", or script/engine down')
    with contextlib.redirect_stdout(sys.stderr):
        suite.install_engine()
        running = own.up()
        base, worker = images.worker_image(running, environment.ensure(), build=wheels.flavour(), yes=True)
        say("ready; now a test can be run alone: .venv/bin/python -m pytest …")
    for name, value in suite.variables(running, base, worker).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    main(body)
