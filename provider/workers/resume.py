"""An attempt that outlives its worker. Rule: what was told once is not told again, and what follows continues it.

The state behind a trace's leaf is all that the next step depends on: given to another worker of the same runtime
profile, the last whole one leads to the same picture, bit for bit. One state of an attempt is kept here, and the leaves
so far: what is left of a run that ends before its picture is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from gpufair.protocol import trace
from gpufair.protocol.frames import STATE, InputRef, Run, RuntimeProfile, State, Step
from gpufair.protocol.limits import WORKER_TRIES_MAX
from gpufair.provider.workers.outcome import Event, Failure, PictureResult, Reached, Taken, WorkerFailedError


class Going:
    """One attempt, over all the workers that it needs. Without a trace it has no states, and one worker alone."""

    def __init__(self, run: Run, inputs: Sequence[bytes], profile: bytes = b"") -> None:
        self._asked, self._inputs = run, tuple(inputs)
        self._given = _state(run, self._inputs)
        self._picture = run.first_picture
        self._coming = bytearray()
        self._begin(run.first_step)
        self._accepted = False
        self.tries = 0
        """Workers that were lost under it."""
        self._profile = profile
        self.runtime: RuntimeProfile | None = None
        """What it began on."""

    def _begin(self, first_step: int) -> None:
        """Be at the start of the picture at hand, so many of whose steps were done elsewhere."""
        self._first = first_step
        self._leaves = [trace.leaf(first_step, self._given)] if first_step else []
        """From the first step on, as far as its caller knows them."""
        self._state, self._done = self._given if first_step else b"", first_step
        """What another worker would go on from, and after how many steps that is."""

    @property
    def run(self) -> Run:
        """What to ask a worker for now."""
        count = self._asked.first_picture + self._asked.count - self._picture
        own = tuple(ref for ref in self._asked.inputs if ref.kind != STATE)
        run = replace(self._asked, first_picture=self._picture, count=count, first_step=self._done, inputs=own)
        if not self._done:
            return run
        state = InputRef(STATE, hashlib.sha256(self._state).digest(), len(self._state), self._done)
        return replace(run, inputs=(*own, state))

    @property
    def inputs(self) -> tuple[bytes, ...]:
        """What that run begins from."""
        refs = self._asked.inputs
        own = tuple(data for ref, data in zip(refs, self._inputs, strict=True) if ref.kind != STATE)
        return (*own, self._state) if self._done else own

    @property
    def before(self) -> tuple[bytes, ...]:
        """The leaves of the steps that run will not tell."""
        return tuple(self._leaves[: self._done - self._first + 1]) if self._done else ()

    @property
    def profile(self) -> bytes:
        """The digest of the runtime profile that its workers must have; empty where that is open."""
        return self.runtime.digest() if self.runtime is not None else self._profile

    @property
    def reached(self) -> Reached | None:
        """How far the picture at hand has come; None if none of its steps was done here."""
        if self.runtime is None or self._done == self._first:
            return None
        return Reached(self._picture, self._done, self._state, self.before, self.runtime)

    @property
    def is_made(self) -> bool:
        """Whether every picture is here: a worker that is lost after that takes nothing along."""
        return self._picture == self._asked.first_picture + self._asked.count

    def take(self, event: Event) -> Event | None:
        """What a worker told, if it is news. Pieces of a state that was cut off come again from its first."""
        match event:
            case Taken():
                news, self._accepted = not self._accepted, True
                return event if news else None
            case State():
                if not event.offset:
                    self._coming.clear()
                self._coming += event.data
            case Step():
                return self._step(event)
            case PictureResult():
                self._picture = event.index + 1
                self._begin(0)
        return event

    def again(self, failure: WorkerFailedError) -> bool:
        """Whether another worker shall take it up; from its first step, if none can go on with such a model."""
        self.tries += 1
        refused = failure.code is Failure.BAD_REQUEST and self._done > self._first
        if refused:
            self._state, self._done = self._given if self._first else b"", self._first
        return (failure.again or refused) and self._asked.trace and self.tries < WORKER_TRIES_MAX

    def _step(self, step: Step) -> Step | None:
        if self._asked.trace:
            self._state, self._done = bytes(self._coming), step.step
        self._coming.clear()
        place = step.step - self._first
        if place == len(self._leaves):
            self._leaves.append(step.leaf)
            return step
        if self._leaves[place] != step.leaf:
            raise WorkerFailedError(Failure.LIED, f"step {step.step} came out otherwise when it was done again")
        return None


def _state(run: Run, inputs: Sequence[bytes]) -> bytes:
    """The state that a run goes on from; empty for one that begins with its first step."""
    return next((data for ref, data in zip(run.inputs, inputs, strict=True) if ref.kind == STATE), b"")
