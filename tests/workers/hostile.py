"""A worker that does whatever a run's prompt says: "honest", or a misdeed by its name. Run alone, never imported.

A first argument makes it misbehave from the start instead. Standard library only.
"""

import os
import signal
import sys
import time

import hostile_acts
import hostile_states
import hostile_words
from hostile_wire import Run, greet, parse, receive, send

signal.signal(signal.SIGTERM, signal.SIG_IGN)


def honest(run):
    run.accept()
    run.all_steps()
    run.chunk()
    run.end()
    run.done()


DEEDS = {"honest": honest, **vars(hostile_words), **vars(hostile_acts), **vars(hostile_states)}

STARTS = {
    "never_ready": lambda: time.sleep(600),
    "exits": lambda: os._exit(3),
    "no_device": lambda: os._exit(4),
    "wrong_nonce": lambda: greet(nonce=b"x" * 16),
    "other_version": lambda: greet(version=1),
    "claims_gpu": lambda: greet(kind="cuda"),
    "speaks_first": lambda: (send("done", b"a" * 16), greet()),
    "unasked": lambda: (greet(), send("done", b"a" * 16)),
}


def main():
    STARTS.get(sys.argv[1] if len(sys.argv) > 1 else "", greet)()
    given = b""
    while True:
        name, fields = receive()
        if name == "load":
            send("loaded", fields[1], 1, 1, fields[1])
        elif name == "input":
            given = (given if fields.get(3) else b"") + fields[5]
        elif name == "run":
            run = Run(fields, given)
            DEEDS[run.prompt](run)
        elif name in ("replay", "measure"):
            answer(name, Run(parse(fields[1])))
        elif name == "stop":
            return


def answer(name, run):
    """As it is asked, or otherwise if the prompt says so."""
    if run.prompt == "another answer":
        name = {"replay": "measure", "measure": "replay"}[name]
    if run.prompt == "no answer":
        run.fail("it can't")
    elif run.prompt == "death":
        os._exit(7)
    elif name == "replay":
        send("replayed", run.attempt, 1, 2, 3)
    else:
        send("measured", run.attempt, 1, 2, 3, 4, 5, 6, 7)


if __name__ == "__main__":
    main()
