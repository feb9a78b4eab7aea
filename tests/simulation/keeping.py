"""The ledger of a simulated market. Rule: it is the real one; only its daemon's clock is played here."""

from __future__ import annotations

from typing import Any

from actor import Actor
from network import Sim

from gpufair.protocol import limits
from gpufair.protocol.messages import Envelope
from gpufair.provider.ledger import Ledger, Store


class LedgerActor(Actor):
    """The real ledger, and what its daemon does around it: hold expiry, by itself."""

    role = "ledger"
    honest = True

    def __init__(self, sim: Sim, world: Any, name: str, skew_ms: int = 0) -> None:
        super().__init__(sim, world, name, skew_ms)
        self.db.raw.execute("INSERT INTO book (one, operator) VALUES (1, ?)", (self.desk.did,))

    def boot(self) -> None:
        self.ledger = Ledger(self.desk, Store(self.db, self.desk.did))
        self.serves_from = self.now_ms() + limits.MARGIN_MIN_MS
        self.planned: set[int] = set()
        self.plan_expiry()

    def plan_expiry(self) -> None:
        """Its writer looks every second; here it looks when a hold's time is over."""
        for (at,) in self.db.rows("SELECT expires_at_ms FROM holds WHERE NOT closed"):
            when = max(at, self.serves_from) + 1
            if when not in self.planned:
                self.planned.add(when)
                self.later(when - self.now_ms(), self.expire)

    def expire(self) -> None:
        """What the ledger's writer does when it is idle."""
        if self.ledger.expire():
            self.sim.note("{} expires a hold", self.name)

    def submit(self, order: Envelope) -> Envelope | None:
        """An order comes in."""
        answer = self.guard(self.ledger.submit, order)
        self.plan_expiry()
        return answer

    def ask(self, query: Envelope) -> Envelope | None:
        """A question comes in."""
        return self.guard(self.ledger.ask, query)
