"""Where a process's processor time goes. ONE RULE: the clock that samples runs only while the process does work.

A sample is taken after every few milliseconds of processor time, waiting for disk or network not counted, and goes to
the Python function that is running, library or ours; what a C function does counts for its caller. Time that other
threads spend (gRPC has its own) is found with the main thread in its selector, and counted there. An exact count of
calls would be of little use: Python's profiler makes small functions several times as dear as they are.

`python -m benchmarks.sampler FILE WORDS…` runs `gpufaird WORDS…` so: SIGUSR1 begins anew, SIGUSR2 writes FILE.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY_S = 0.002
DEPTH = 60
"""Frames that are looked at, from the innermost on."""

Samples = Counter[tuple[str, str]]
"""How often each function was found running, with the function of ours that it worked for (empty: for none)."""


class Sampler:
    """Takes samples of the main thread from `start` to `stop`, which it alone may call."""

    def __init__(self) -> None:
        self.found = Samples()

    def start(self) -> None:
        """Begin."""
        signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def stop(self) -> None:
        """No more samples."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def write(self, file: Path) -> None:
        """Put what was found into a file, which is there only when it is whole."""
        part = file.with_suffix(".part")
        found = dict(self.found)  # at once: a sample may be taken while it is written
        part.write_text(json.dumps([[*names, count] for names, count in found.items()]))
        part.replace(file)

    def _take(self, _number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        inner, ours, depth = _name(frame), "", 0
        while frame is not None and not ours and depth < DEPTH:
            ours, frame, depth = (_name(frame) if _is_ours(frame) else ""), frame.f_back, depth + 1
        self.found[inner, ours] += 1


def read(file: Path) -> Samples:
    """What another process has written."""
    return Samples({(inner, ours): count for inner, ours, count in json.loads(file.read_text())})


def _name(frame: FrameType) -> str:
    """`client/session/purse.py:sign`, or of a library `asyncio/events.py:_run`."""
    path = Path(frame.f_code.co_filename)
    place = frame.f_globals["__name__"].split(".")[1:-1] if _is_ours(frame) else path.parts[-2:-1]
    return "/".join([*place, path.name]) + ":" + frame.f_code.co_name


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("gpufair.")


def main(file: Path, words: list[str]) -> None:
    """Run an owner's command under a sampler."""
    from gpufair.provider.cli import main as gpufaird

    sampler = Sampler()
    signal.signal(signal.SIGUSR1, lambda *_: sampler.found.clear())
    signal.signal(signal.SIGUSR2, lambda *_: sampler.write(file))
    sampler.start()
    sys.argv = ["gpufaird", *words]
    gpufaird()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
