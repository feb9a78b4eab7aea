"""The worker's main loop. Rule: every attempt ends in exactly one Done or Failed, and the worker goes on.

Prompts never reach stderr: an unexpected exception is logged by type and place, without its text.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from gpufair.protocol.frames import (
    VERSION,
    Accepting,
    Cancel,
    Done,
    FailCode,
    Failed,
    FromWorker,
    Hello,
    Input,
    Load,
    Loaded,
    LoadFailed,
    Measure,
    Ready,
    Replay,
    Run,
    Stop,
    ToWorker,
)
from gpufair.protocol.limits import TEXT_MAX
from gpufair.provider.inference.engine import Engine, RefusedError
from gpufair.provider.inference.inputs import Inbox
from gpufair.provider.inference.pipe import EXIT_BAD_FRAMES, Pipe, claim_stdio, exit_on_sigterm, leave

EXIT_VERSION = 3
EXIT_DEVICE = 4


class Wire(Protocol):
    """Where frames come from and go to."""

    def receive(self) -> ToWorker:
        """The next frame from the node, waiting for it."""

    def poll(self) -> ToWorker | None:
        """The next frame from the node if it is here already."""

    def send(self, frame: FromWorker) -> None:
        """Send a frame to the node, waiting for credit if need be."""

    def cancelled(self, attempt: bytes) -> bool:
        """Whether the node has cancelled the attempt."""


def main(build: Callable[[Hello], Engine]) -> None:
    """A whole worker process over stdin and stdout: claim them, greet, serve, exit."""
    exit_on_sigterm()
    pipe = Pipe(*claim_stdio())
    pipe.start()
    hello = pipe.receive()
    if not isinstance(hello, Hello):
        leave(EXIT_BAD_FRAMES, f"the first frame is a {type(hello).__name__}, not a Hello")
    if hello.protocol != VERSION:
        leave(EXIT_VERSION, f"the node speaks worker protocol {hello.protocol}, this worker speaks {VERSION}")
    try:
        engine = build(hello)
    except RefusedError as err:
        leave(EXIT_DEVICE, err.message)
    pipe.send(Ready(VERSION, hello.nonce, engine.profile, engine.memory_bytes))
    serve(pipe, engine)
    leave(0)


def serve(wire: Wire, engine: Engine) -> None:
    """Take frames as they come, between two pieces of work too, until Stop and the end of what was asked before."""
    inbox = Inbox()
    while True:
        frame = wire.poll() if engine.is_busy else wire.receive()
        match frame:
            case None:
                _work(wire, engine)
            case Stop():
                break
            case Load():
                wire.send(_load(frame, wire, engine))
            case Input():
                inbox.put(frame)
            case Run():
                wire.send(Accepting(frame.attempt))
                _admit(frame, inbox, wire, engine)
            case Measure():
                wire.send(_measure(frame, inbox, wire, engine))
            case Replay():
                wire.send(Accepting(frame.run.attempt))
                wire.send(_replay(frame, inbox, engine))
            case Cancel():
                pass  # took effect when it arrived
            case Hello():
                leave(EXIT_BAD_FRAMES, "a second Hello")
    while engine.is_busy:
        _work(wire, engine)


def _load(load: Load, wire: Wire, engine: Engine) -> FromWorker:
    """Have a model in memory. One that finds no room beside those in use waits for them, and newcomers behind it."""
    while True:
        start = time.monotonic_ns()
        try:
            size, took = engine.holds(load.digest), 0
            if size is None:
                size = engine.load(load)
                took = max(1, (time.monotonic_ns() - start) // 1_000_000)
            return Loaded(load.digest, took, size, engine.held)
        except Exception as err:
            code, message = _explain(err)
            if code is not FailCode.OUT_OF_MEMORY or not engine.is_busy:
                return LoadFailed(load.digest, code, message)
        while engine.is_busy:
            _work(wire, engine)


def _admit(run: Run, inbox: Inbox, wire: Wire, engine: Engine) -> None:
    try:
        inputs = inbox.claim(run)
        if wire.cancelled(run.attempt):
            wire.send(Failed(run.attempt, FailCode.CANCELLED, "cancelled before it began"))
            return
        engine.admit(run, inputs, wire.send, lambda: wire.cancelled(run.attempt))
    except Exception as err:
        wire.send(Failed(run.attempt, *_explain(err)))


def _measure(order: Measure, inbox: Inbox, wire: Wire, engine: Engine) -> FromWorker:
    """Measure, once what came before is over: company would be measured too."""
    while engine.is_busy:
        _work(wire, engine)
    try:
        return engine.measure(order, inbox.claim(order.run))
    except Exception as err:
        return Failed(order.run.attempt, *_explain(err))


def _replay(order: Replay, inbox: Inbox, engine: Engine) -> FromWorker:
    """Judge at once, between two steps of whoever is under way: it takes hardly longer than one."""
    try:
        return engine.replay(order, inbox.claim(order.run))
    except Exception as err:
        return Failed(order.run.attempt, *_explain(err))


def _work(wire: Wire, engine: Engine) -> None:
    for attempt, err in engine.advance():
        wire.send(Done(attempt) if err is None else Failed(attempt, *_explain(err)))


def _explain(err: Exception) -> tuple[FailCode, str]:
    """The code and text for the node. The text of an exception that we didn't raise may quote a prompt: not told."""
    if isinstance(err, RefusedError):
        return err.code, err.message.encode()[:TEXT_MAX].decode(errors="ignore")
    if isinstance(err, MemoryError):
        return FailCode.OUT_OF_MEMORY, "the worker's memory does not suffice"
    frames = traceback.extract_tb(err.__traceback__)[-8:]
    place = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    sys.stderr.write(f"gpufair worker: {type(err).__name__} at {place}\n")
    return FailCode.INTERNAL, f"the worker failed with {type(err).__name__}; its log says where"
