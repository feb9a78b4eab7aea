"""What one message leads to. Rule: answers and events are made from what the transaction wrote, and leave after it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpufair.client.session.events import Event
from gpufair.protocol.messages import Up


@dataclass
class Turn:
    """Answers for the provider, then events for the user."""

    ups: list[Up] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __iadd__(self, other: Turn) -> Turn:
        self.ups += other.ups
        self.events += other.events
        return self
