"""Room for one worker each, and who fits where. Rule: an attempt that is computed alone has its worker for itself.

Attempts of precision `single` with one model share a worker, up to what one call of a denoiser takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from gpufair.protocol.frames import Run
from gpufair.protocol.limits import WORKER_BATCH_MAX
from gpufair.protocol.messages.market import Precision
from gpufair.provider.workers.runtime import WorkerSpec
from gpufair.provider.workers.warm import WarmWorker


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody needs of a place. `profile` is the runtime profile that its worker must have, if any."""

    model: bytes
    shares: bool = False
    profile: bytes = b""

    @classmethod
    def of(cls, run: Run) -> Wish:
        """What a run needs."""
        return cls(run.model, run.precision == Precision.SINGLE.name.lower())


class Place:
    """Room for one worker."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.warm: WarmWorker | None = None
        self.profile = b""
        """What its worker stated last."""
        self.timer: asyncio.TimerHandle | None = None
        self.guests = 0
        self.starting = asyncio.Lock()
        self._shared = b""
        """The model that its guests share it for; empty if its guest is alone."""
        self.closed = False
        """Being cleared: nobody is let in."""

    @property
    def free(self) -> bool:
        """Whether it could take whoever comes."""
        return not self.guests and not self.closed

    def takes(self, wish: Wish) -> bool:
        """Whether it can take such a guest now."""
        if self.closed or (wish.profile and self.profile not in (b"", wish.profile)):
            return False
        return not self.guests or (wish.shares and self._shared == wish.model and self.guests < WORKER_BATCH_MAX)

    def enter(self, wish: Wish) -> None:
        """Take a guest."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.guests += 1
        self._shared = wish.model if wish.shares else b""

    def rank(self, wish: Wish) -> tuple[bool, bool, bool, bool]:
        """How soon and how well it could start: where the model is, and nobody else; then where the model is."""
        models = self.warm.models if self.warm is not None and self.warm.fit else []
        is_ready = self.warm is not None and self.warm.fit
        return wish.model in models, not self.guests, models[-1:] == [wish.model], is_ready


def best(places: Iterable[Place], wish: Wish) -> Place | None:
    """The place that suits best, if any can take such a guest."""
    return max((place for place in places if place.takes(wish)), key=lambda place: place.rank(wish), default=None)


def needed(wishes: Iterable[Wish]) -> int:
    """How many places these would fill, shared as far as can be."""
    alone, shared = 0, dict[bytes, int]()
    for wish in wishes:
        if wish.shares:
            shared[wish.model] = shared.get(wish.model, 0) + 1
        else:
            alone += 1
    return alone + sum(-(-count // WORKER_BATCH_MAX) for count in shared.values())
