"""A question to another directory. Rule: the core asks and is answered; who carries both is not its business."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol.messages import Bodies, Compare, Compared, Pull, Tell, Told

Request = Compare | Tell | Pull
Reply = Compared | Told | Bodies


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to a peer."""

    did: str
    request: Request
