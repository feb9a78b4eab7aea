"""What an audit costs its auditor's worker. ONE RULE: it is held against the very job that it audits, in one run.

A job of N steps is made, with trace and states, and one of its steps done again and judged, by one worker.
The goal is 1.3 steps' time and one decoding: an audit has a prompt to read and a schedule to set up, as a job has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.core import STEPS, Bench
from benchmarks.rows import Row, Samples
from benchmarks.running import Options

SHARE = 1.3


def run(options: Options) -> Iterator[Row]:
    """The row."""
    bench = Bench(options.folder)
    rounds = options.rounds(30, 4)
    jobs, audits, decodes = list[float](), list[float](), list[float]()
    with machine.watched() as state:
        for number in range(rounds + 2):
            whole, decode, audit = _turn(bench, number)
            if number >= 2:  # the first two only warm up
                jobs.append(whole)
                decodes.append(decode)
                audits.append(audit)
    job, decode, audit = Samples(jobs), Samples(decodes), Samples(audits)
    allowed = SHARE / STEPS * job.median + decode.median
    goal = f"≤ {SHARE:g}/{STEPS} of the job + one decode"
    yield Row("audit", audit.median, allowed, "ms", goal, audit.median <= allowed,
              {"device": bench.device, "job_ms": job.summary(), "decode_ms": decode.summary(),
               "audit_ms": audit.summary(), "of_the_job": audit.median / job.median, "machine": state})  # fmt: skip


def _turn(bench: Bench, number: int) -> tuple[float, float, float]:
    """Milliseconds: a job, its decoding, and the audit of one of its steps."""
    from gpufair.protocol.frames import OutputChunk, Replay, State, Step

    states: dict[int, bytes] = {}
    png, last = bytearray(), 0.0

    def hear(frame: Any) -> None:
        nonlocal png, last
        if isinstance(frame, State):
            states[frame.step] = states.get(frame.step, b"") + frame.data
        elif isinstance(frame, OutputChunk):
            png += frame.data
        elif isinstance(frame, Step):
            last = perf_counter()

    order = bench.order(number, "exact")
    began = perf_counter()
    bench.engine.admit(order, (), hear, lambda: False)
    while bench.engine.is_busy:
        for _, err in bench.engine.advance():
            if err is not None:
                raise err
    ended, step = perf_counter(), number % STEPS
    opened = sorted({0, step, step + 1, STEPS})
    refs = [_ref("state", states[at], at) for at in opened] + [_ref("picture", bytes(png))]
    replay = Replay(replace(order, inputs=tuple(refs)), step)
    asked = perf_counter()
    told = bench.engine.replay(replay, [*(states[at] for at in opened), bytes(png)])
    answered = perf_counter()
    if (told.start_nano, told.step_nano, told.picture_nano) != (0, 0, 0):
        raise RuntimeError(f"an honest step is flagged: {told}")
    return (ended - began) * 1000, (ended - last) * 1000, (answered - asked) * 1000


def _ref(kind: str, data: bytes, step: int = 0) -> Any:
    from gpufair.protocol.frames import InputRef

    return InputRef(kind, hashlib.sha256(data).digest(), len(data), step)
