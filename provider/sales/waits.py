"""The wait that an offer tells. Rule: it grows at once and shrinks late, in powers of two, so that offers stay.

How long a newcomer waits changes with every job. Buyers care whether it is a second or a minute.
"""

from __future__ import annotations

from gpufair.protocol.limits import SECOND, WAIT_SHOWN_MS


def rounded(wait_ms: int) -> int:
    """Up to a power of two seconds; nothing stays nothing."""
    return SECOND << (-(-wait_ms // SECOND) - 1).bit_length() if wait_ms > 0 else 0


class ShownWait:
    """What is shown of a wait, as time goes on."""

    def __init__(self) -> None:
        self._shown = 0
        self._highest = 0
        """The longest wait since it was first shorter than what is shown."""
        self._since_ms: int | None = None

    def look(self, wait_ms: int, now_ms: int) -> int:
        """What to show now. Less than before only once it has been less for a while."""
        wait = rounded(wait_ms)
        if wait >= self._shown:
            self._shown, self._since_ms = wait, None
        elif self._since_ms is None:
            self._highest, self._since_ms = wait, now_ms
        else:
            self._highest = max(self._highest, wait)
            if now_ms - self._since_ms >= WAIT_SHOWN_MS:
                self._shown, self._since_ms = self._highest, None
        return self._shown
