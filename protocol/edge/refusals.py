"""How a call to a peer fails, for whoever made it. Rule: no gRPC here: who catches these needn't load it."""

from __future__ import annotations

from gpufair.protocol.errors import FairError, Fault, PeerError


class RemoteRefusal(PeerError):  # noqa: N818 - a refusal is not always an error
    """The peer refused our call; fault, what and hint are its own words, made safe to print."""


class PeerUnreachable(FairError):  # noqa: N818 - it says what is the case
    """Nobody answered: no connection, no answer in time, or (`impostor`) somebody with another certificate.

    What was asked may or may not have been done: ask again with the same bytes.
    """

    def __init__(self, what: str, *, hint: str = "", impostor: bool = False) -> None:
        super().__init__(Fault.UNAVAILABLE, what, hint=hint)
        self.impostor = impostor
