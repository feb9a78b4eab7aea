"""Who plays in a simulated market, by identity. Rule: actors meet here, and what they say passes the judge here."""

from __future__ import annotations

from typing import Any

from invariants import Watch
from network import Sim

from gpufair.protocol import envelope
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import KeyReveal, Order, Voucher


class Stage:
    """The ledgers, providers and clients of a run, by did, and their judge."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.banks: dict[str, Any] = {}
        self.shops: dict[str, Any] = {}
        self.buyers: dict[str, Any] = {}
        self.refusals: list[str] = []
        self.watch = Watch(self)

    def enter(self, actor: Any) -> Any:
        """Another one plays."""
        {"ledger": self.banks, "provider": self.shops, "client": self.buyers}[actor.role][actor.desk.did] = actor
        return actor

    def check(self, actor: Any = None) -> None:
        """After every event: judge whom it was about (None: everybody)."""
        self.watch.check(actor)

    def sent_up(self, client: Any, message: Any) -> None:
        """A client says something."""
        if client.honest and isinstance(message, Order) and message.envelope.payload_type == Voucher.TYPE:
            self.watch.voucher_goes_out(client, envelope.read(message.envelope, Voucher).doc)

    def sent_down(self, provider: Any, lease: bytes, message: Any) -> None:
        """A provider says something."""
        if provider.honest and isinstance(message, KeyReveal):
            self.watch.key_goes_out(provider, lease, message)

    def refused(self, who: Any, what: Any, error: PeerError) -> None:
        """Somebody got a PeerError."""
        self.refusals.append(f"{who.name}: {type(what).__name__}: {error}")
