"""A worker that does whatever a run's prompt says: "honest", or a misdeed by its name. Run alone, never imported.

A first argument makes it misbehave from the start instead. Standard library only.
"""

import os
import signal
import sys
import time

import hostile_acts
import hostile_words
from hostile_wire import Run, greet, receive, send

signal.signal(signal.SIGTERM, signal.SIG_IGN)


def honest(run):
    run.accept()
    run.all_steps()
    run.chunk()
    run.end()
    run.done()


DEEDS = {"honest": honest, **vars(hostile_words), **vars(hostile_acts)}

STARTS = {
    "never_ready": lambda: time.sleep(600),
    "exits": lambda: os._exit(3),
    "no_device": lambda: os._exit(4),
    "wrong_nonce": lambda: greet(nonce=b"x" * 16),
    "other_version": lambda: greet(version=2),
    "claims_gpu": lambda: greet(kind="cuda"),
    "speaks_first": lambda: (send("done", b"a" * 16), greet()),
    "unasked": lambda: (greet(), send("done", b"a" * 16)),
}


def main():
    STARTS.get(sys.argv[1] if len(sys.argv) > 1 else "", greet)()
    while True:
        name, fields = receive()
        if name == "load":
            send("loaded", fields[1], 1, 1)
        elif name == "run":
            run = Run(fields)
            DEEDS[run.prompt](run)
        elif name == "stop":
            return


if __name__ == "__main__":
    main()
