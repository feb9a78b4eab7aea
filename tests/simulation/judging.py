"""How a judge works. Rule: it looks when something was written, at what may have changed; now and then at all."""

from __future__ import annotations

from typing import Any

WHOLE_EVERY = 100


class BrokenError(AssertionError):
    """A promise of docs/payment.md or DESIGN was not kept."""


def insist(holds: bool, what: str, *numbers: Any) -> None:
    """Raise unless it holds."""
    if not holds:
        raise BrokenError(f"{what} {numbers if numbers else ''}")


class Judge:
    """Watches one actor's database."""

    def __init__(self, stage: Any, actor: Any) -> None:
        self.stage, self.actor = stage, actor
        self.rows = actor.db.rows
        self._writes, self._looks, self._cuts = -1, 0, 0

    def look(self) -> None:
        """Judge what has changed since the last look."""
        if self.actor.db.writes == self._writes:
            return
        self._writes, self._looks = self.actor.db.writes, self._looks + 1
        if self._looks % WHOLE_EVERY and self._cuts == self.actor.db.cuts:
            self.changed()
        else:
            self._cuts = self.actor.db.cuts
            self.whole()

    def changed(self) -> None:
        """Judge what may have changed."""
        raise NotImplementedError

    def whole(self) -> None:
        """Judge all there is."""
        raise NotImplementedError
