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
    """What somebody needs of a place. `profile` is the runtime profile that its worker must have, if any.

    `holder` says for whom it is: places may be held for some.
    """

    model: bytes
    shares: bool = False
    profile: bytes = b""
    holder: bytes = b""

    @classmethod
    def of(cls, run: Run, holder: bytes = b"") -> Wish:
        """What a run needs."""
        return cls(run.model, run.precision == Precision.SINGLE.name.lower(), holder=holder)


class Place:
    """Room for one worker."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.warm: WarmWorker | None = None
        self.profile = b""
        """What its worker stated last."""
        self.timer: asyncio.TimerHandle | None = None
        self.guests = 0
        self.holder = b""
        """For whom it is held, if for anybody."""
        self.starting = asyncio.Lock()
        self._shared = b""
        """The model that its guests share it for; empty if its guest is alone."""
        self._host = b""
        """For whom its guests are there."""
        self.closed = False
        """Being cleared: nobody is let in."""

    @property
    def free(self) -> bool:
        """Whether it could take whoever comes."""
        return self.empty and not self.holder

    @property
    def empty(self) -> bool:
        """Whether it could take a guest that is alone."""
        return not self.guests and not self.closed

    @property
    def has_strangers(self) -> bool:
        """Whether guests are there for somebody else than the one whom it is held for."""
        return self.guests > 0 and self._host != self.holder

    def holds(self, model: bytes) -> bool:
        """Whether its worker has a model loaded."""
        return self.warm is not None and self.warm.fit and model in self.warm.models

    def takes(self, wish: Wish) -> bool:
        """Whether it can take such a guest now."""
        if self.closed or (wish.profile and self.profile not in (b"", wish.profile)):
            return False
        if self.holder not in (b"", wish.holder):
            return False
        return not self.guests or (wish.shares and self._shared == wish.model and self.guests < WORKER_BATCH_MAX)

    def enter(self, wish: Wish) -> None:
        """Take a guest."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.guests += 1
        self._shared = wish.model if wish.shares else b""
        self._host = wish.holder

    def rank(self, wish: Wish) -> tuple[bool, bool, bool, bool, bool]:
        """How soon and how well it could start: held for it; where the model is and nobody else; where the model is."""
        models = self.warm.models if self.warm is not None and self.warm.fit else []
        is_ready, is_own = self.warm is not None and self.warm.fit, bool(self.holder) and self.holder == wish.holder
        return is_own, wish.model in models, not self.guests, models[-1:] == [wish.model], is_ready


def is_held(places: Iterable[Place], wish: Wish) -> bool:
    """Whether one is held for whoever wishes, and can take it."""
    return bool(wish.holder) and any(place.holder == wish.holder and place.takes(wish) for place in places)


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
