"""A job's progress, as it happens. Rule: on stderr, and only as lively as the place allows: a bar on a terminal, lines
elsewhere, nothing with --json.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gpufair.client.cli.stage import Stage
from gpufair.client.endings import said
from gpufair.client.session import events as ev
from gpufair.protocol import identity
from gpufair.protocol.units import show

_SAY_AGAIN_S = 60.0
"""How often it is said again that the provider can't be reached."""


class Watch:
    """Listens to a session's events and shows them."""

    def __init__(self, stage: Stage, *, count: int, steps: int, preview: Path | None = None) -> None:
        self._stage = stage
        self._count = count
        self._steps = steps
        self._preview = preview
        self._live = stage.err.is_terminal and not stage.as_json
        columns = (TextColumn("{task.description}", markup=False), BarColumn(32), MofNCompleteColumn(),
                   TextColumn("steps"), TimeElapsedColumn())  # fmt: skip
        self._bar = Progress(*columns, console=stage.err, transient=True, disable=not self._live)
        self._task = self._bar.add_task("waiting for the provider", total=count * steps)
        self._done = 0
        self._given_up: set[str] = set()
        """The providers of which it was said why."""
        self._said, self._said_s = "", 0.0
        """The last line about a lost connection, and when it was said."""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._preview is not None:
            with contextlib.suppress(OSError):
                self._preview.unlink(missing_ok=True)

    def __call__(self, event: ev.Event) -> None:
        """Take one event."""
        match event:
            case ev.BidDeclined(provider, reasons, then):
                why = f"{identity.short(provider)} declines: {said(reasons)}. " if reasons else ""
                self._tell(then, why + then)
            case ev.JobPlaced(job):
                self._stage.job = job
            case ev.JobAccepted():
                self._tell("accepted: waiting for a free worker")
            case ev.StepDone(_, picture, step, steps):
                self._step(picture, step, steps)
            case ev.PreviewSeen(png=png):
                self._show_preview(png)
            case ev.PictureLocked(_, picture, amount):
                self._tell(
                    f"paying {self._nth(picture)}", f"{self._nth(picture)} delivered: {show(amount)} for its key"
                )
            case ev.PictureOpened(_, picture):
                self._tell(f"{self._nth(picture)} is here")
            case ev.CheckpointOpened(_, picture, step):
                self._tell(f"{self._nth(picture)} is ours up to step {step}")
            case ev.GoesOn():
                self._goes_on(event)
            case ev.ConnectionLost(why):
                self._lost(why)
            case ev.LeaseClosing():
                self._tell("settling")

    def stopping(self) -> None:
        """Somebody pressed Ctrl-C."""
        self._tell("stopping: Ctrl-C again leaves at once", "stopping: once more leaves at once")

    def _step(self, picture: int, step: int, steps: int) -> None:
        words = "drawing" if self._count == 1 else f"drawing {picture + 1} of {self._count}"
        done = min(picture * self._steps + min(step, steps), self._count * self._steps)
        self._bar.update(self._task, description=words, completed=max(done, self._done))
        self._done = max(done, self._done)
        if not self._live and step == 0:
            self._stage.err.print(words)

    def _goes_on(self, event: ev.GoesOn) -> None:
        """Said in full wherever it is said: it is the answer to why this takes longer, and costs what it does."""
        before, now = identity.short(event.before), identity.short(event.provider)
        where = f"from step {event.step} of {event.steps}" if event.step else "from its beginning"
        self._done = event.picture * self._steps + event.step
        self._bar.update(self._task, description=f"going on at {now}", completed=self._done)
        if event.before not in self._given_up:
            self._given_up.add(event.before)
            self._stage.say(f"{before} is given up: {event.why}")
        self._stage.say(f"  {self._nth(event.picture)} goes on {where} at {now}")
        if event.step and not event.same_profile:
            why = "is another one" if event.same_profile is False else "is not told"
            self._stage.say(f"  its runtime profile {why}: the picture may differ in its last bits")

    def _lost(self, why: str) -> None:
        """The provider is out of reach: a bar says so as long as it lasts, a line only now and then."""
        words = f"trying again: {why}"
        self._bar.update(self._task, description=words[:60])
        now = time.monotonic()
        if not self._live and (words != self._said or now - self._said_s >= _SAY_AGAIN_S):
            self._said, self._said_s = words, now
            self._stage.err.print(words)

    def _tell(self, words: str, in_full: str = "") -> None:
        self._bar.update(self._task, description=words)
        if not self._live:
            self._stage.err.print(in_full or words)

    def _nth(self, picture: int) -> str:
        return "the picture" if self._count == 1 else f"picture {picture + 1} of {self._count}"

    def _show_preview(self, png: bytes) -> None:
        if self._preview is None:
            return
        with contextlib.suppress(OSError):
            self._preview.write_bytes(png)
