"""`script/image`: the worker image for a node of yours. ONE RULE: your own engine, and stdout is the digest alone."""

from __future__ import annotations

import contextlib
import sys

import demo_up
import engine
import environment
import images
import wheels
from house import StepError, main, say


def body(args: list[str]) -> int:
    if set(args) - {"--yes"}:
        raise StepError("script/image takes no words", 'gpufaird init --image "$(script/image)" …')
    with contextlib.redirect_stdout(sys.stderr):
        found = engine.users_engine()
        if found is None:
            own = engine.OwnEngine(demo_up.NAME)
            hint = f"; script/demo's own, at {own.engine.host}, is not for your node" if own.process() else ""
            raise StepError(
                f"no Docker engine of yours answers{hint}", "install and start one (as root: apt-get install docker.io)"
            )
        say(f"engine: yours, at {found.host}")
        _, worker = images.worker_image(found, environment.ensure(), build=wheels.flavour(), yes="--yes" in args)
    print(worker)
    return 0


if __name__ == "__main__":
    main(body)
