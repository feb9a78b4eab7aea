"""What must hold after every event, whoever cheats. Rule: judged from the databases, past all code under test.

Each actor has judges (`judges.py`, `goods_judges.py`) that look only when a commit has changed what they judge, and
then only at what may have changed; now and then, and at the end, they look at all. A broken promise raises
`BrokenError`, with its numbers.
"""

from __future__ import annotations

from typing import Any

from goods_judges import OpenedJudge, StepsJudge
from judges import ClientJudge, LedgerJudge, ProviderJudge
from judging import BrokenError, Judge, insist

from gpufair.protocol import payment
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import KeyReveal, Voucher
from gpufair.protocol.payment import Promise

JUDGES: dict[str, tuple[Any, ...]] = {
    "ledger": (LedgerJudge,),
    "provider": (ProviderJudge, StepsJudge),
    "client": (ClientJudge, OpenedJudge),
}


class Watch:
    """The judges of one run: they remember what they saw, so that nothing can go back."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self._judges: dict[Any, tuple[Judge, ...]] = {}

    def check(self, actor: Any = None) -> None:
        """Judge what has changed for an actor, or for all of them."""
        for one in self._everybody() if actor is None else (actor,):
            judges = self._judges.get(one)
            if judges is None:
                judges = self._judges[one] = tuple(kind(self.stage, one) for kind in JUDGES[one.role])
            for judge in judges:
                judge.look()

    def whole(self) -> None:
        """Judge everything, whether it has changed or not."""
        self.check()
        for judges in self._judges.values():
            for judge in judges:
                judge.whole()

    def _everybody(self) -> list[Any]:
        stage = self.stage
        return [*stage.banks.values(), *stage.shops.values(), *stage.buyers.values()]

    @property
    def holds(self) -> int:
        """How many holds there have been, at all ledgers."""
        return sum(bank.db.rows("SELECT count(*) FROM holds")[0][0] for bank in self.stage.banks.values())

    def captured(self) -> int:
        """What all ledgers have paid so far."""
        banks = self.stage.banks.values()
        return sum(bank.db.rows("SELECT coalesce(sum(captured), 0) FROM holds")[0][0] for bank in banks)

    def key_goes_out(self, provider: Any, lease: bytes, message: KeyReveal) -> None:
        """A key leaves an honest provider: the disk must say so already."""
        place = lease, message.job, message.picture, message.step
        query = "SELECT revealed FROM deliveries WHERE lease=? AND job=? AND picture=? AND step=?"
        insist(provider.db.rows(query, *place) == [(1,)], "a key goes out that the disk calls unrevealed", *place)

    def voucher_goes_out(self, client: Any, voucher: Voucher) -> None:
        """A voucher leaves an honest client: the one on disk must promise as much."""
        [(stored,)] = client.db.rows("SELECT voucher FROM leases WHERE id=?", voucher.lease)
        said = voucher.unlocked + sum(x.amount for x in voucher.locks)
        kept = Promise.of(from_bytes(stored, Voucher).doc) if stored else payment.NOTHING
        insist(kept.unlocked + sum(x.amount for x in kept.locks) >= said, "a voucher goes out that is not on disk")


__all__ = ["BrokenError", "Watch", "insist"]
