"""All who don't keep to the rules. Rule: each signs with its own key only, as a cheat in the real world would.

`lies` says how often one has lied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cheating_clients import FakeLocks, Foreign, Lowering, OtherBytes, OverCap, PartialLocks, VanishingClient
from cheating_providers import Dearer, FalseStates, Grabber, NoiseMaker, TwoLocks, Withholder, WrongGoods
from keeping import LedgerActor

from gpufair.protocol import envelope as dsse
from gpufair.protocol.messages import Decline, Envelope, HoldState

CLIENTS = (VanishingClient, PartialLocks, FakeLocks, Lowering, OverCap, Foreign, OtherBytes)
PROVIDERS = (Withholder, NoiseMaker, Dearer, WrongGoods, TwoLocks, Grabber, FalseStates)


class LyingLedger(LedgerActor):
    """Signs a state of the hold that its own book does not have."""

    honest = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lies = 0

    def ask(self, query: Envelope) -> Envelope | None:
        answer = super().ask(query)
        if answer is None or answer.payload_type == Decline.TYPE:
            return answer
        state = dsse.read(answer, HoldState).doc
        self.lies += 1
        lie: dict[str, Any] = self.sim.rng.choice((
            {"captured": state.amount, "released": 0, "closed": True},
            {"captured": state.captured + state.amount + 1},
            {"released": 0, "closed": True, "captured": min(state.captured, state.amount - 1)},
            {"amount": state.amount + 1},
        ))  # fmt: skip
        return self.desk.sign(replace(state, **lie)).envelope
