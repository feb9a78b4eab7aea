"""The client of a simulated market: one process, its wallet, and the leases in it. Rule: it resumes from its wallet."""

from __future__ import annotations

from typing import Any

from actor import Actor
from dealing import Dealing
from network import Sim

from gpufair.client.market import leases as buying
from gpufair.client.wallet.store import TABLES, LeaseRow
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.lifecycle import LEASE, LeaseState
from gpufair.protocol.messages import Up


class ClientActor(Actor):
    """A buyer: what it wants is the world's, what it has is in its wallet."""

    role = "client"
    honest = True

    def __init__(self, sim: Sim, world: Any, name: str, skew_ms: int = 0) -> None:
        super().__init__(sim, world, name, skew_ms)
        self.declined: list[Any] = []
        self.cheats_seen: list[str] = []
        self.dealings: dict[bytes, Dealing] = {}

    def boot(self) -> None:
        self.store = RowStore(self.db, TABLES)
        self.leases = buying.Leases(self.desk, self.store)
        self.dealings = {}
        with self.store.read() as rows:
            known = rows.all(LeaseRow, order="created_ms")
        for row in known:
            if not LEASE.is_terminal(LeaseState(row.state)):
                self.deal(row.id)
        if not known:
            self.begin()

    def begin(self) -> None:
        """The wallet has no lease yet."""
        world = self.world
        bid = self.leases.propose(world.signed_offer, world.record, world.model, world.image, world.terms)
        self.deal(bid.id)

    def deal(self, lease: bytes) -> None:
        """Go on with a lease in our wallet."""
        dealing = self.dealings[lease] = Dealing(self, lease, self.world.errand_for(self, lease))
        dealing.go()

    def over(self, dealing: Dealing) -> None:
        """Nothing more comes of a lease."""

    def outgoing(self, _dealing: Dealing, ups: list[Up]) -> list[Any]:
        """What goes out of what the session says: all of it, as it is."""
        return list(ups)

    def crash(self) -> None:
        for dealing in self.dealings.values():
            dealing.crash()
        super().crash()
