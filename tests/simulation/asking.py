"""Asking the ledger how a lease stands, in a simulated client. Rule: until its hold is closed, again and again."""

from __future__ import annotations

from typing import Any

from network import Call

from gpufair.protocol import limits
from gpufair.protocol.errors import PeerError
from gpufair.protocol.lifecycle import LeaseState
from gpufair.protocol.messages import Decline, HoldState, Query, QueryKind


class Asking:
    """What a dealing does about its hold."""

    client: Any
    sim: Any
    bank: Any
    session: Any
    polling = False
    poll_at = 0

    def poll(self) -> None:
        """Ask the ledger how the hold stands until it is closed."""
        row = self.row()
        if self.polling or not row.hold or row.state == LeaseState.SETTLED:
            return
        self.polling, self.poll_at = True, 0
        desk = self.client.desk
        query = desk.sign(Query(desk.head(row.ledger, parent=row.id), QueryKind.HOLD, desk.did, row.id, 0)).envelope
        Call(self.sim, self.client, lambda: self.bank.ask(query), self._hold_state, "hold state",
             until=self.sim.now + 5 * limits.MINUTE, to=self.bank.name)  # fmt: skip
        self.poll_later(6 * limits.MINUTE)

    def poll_later(self, ms: int) -> None:
        """Ask again after a while; of several such wishes the newest counts."""
        at = self.poll_at = self.sim.now + ms
        self.later(ms, lambda: self._poll_again(at))

    def _poll_again(self, at: int) -> None:
        if self.poll_at == at:
            self.polling = False
            self.poll()

    def _hold_state(self, answer: Any) -> None:
        self.polling = False
        if isinstance(answer, PeerError) or answer.payload_type == Decline.TYPE or self.session is None:
            self.poll_later(20_000)
            return
        state = self.client.desk.receive(answer, HoldState)
        for event in self.session.on_hold_state(state).events:
            self.heard(event)
        if not state.doc.closed:
            self.poll_later(30_000)
        else:
            self.client.over(self)
