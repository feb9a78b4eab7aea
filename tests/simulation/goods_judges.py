"""What is sold must be what was made. Rule: each step is billed once, and whoever has paid for a state has it.

What a worker makes follows from seed and step (drawing.py), so a picture that was stopped and went on, here or
elsewhere, must be that of a run without a stop.
"""

from __future__ import annotations

from typing import Any

from drawing import decoded, state_of
from judging import Judge, insist

from gpufair.protocol import wire
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Goods, JobBody, Receipt

_NEW = "SELECT rowid, lease, job, picture, receipt FROM deliveries WHERE rowid > ? ORDER BY rowid"


class StepsJudge(Judge):
    """Deliveries of a picture follow on each other, from the step that its job began with."""

    def __init__(self, stage: Any, actor: Any) -> None:
        super().__init__(stage, actor)
        self._seen = 0
        self._ends: dict[tuple[Any, ...], int] = {}

    def changed(self) -> None:
        if not self.actor.honest:
            return
        for row, *place, receipt in self.rows(_NEW, self._seen):
            self._seen, claim = row, from_bytes(receipt, Receipt).doc
            before = self._ends.get(tuple(place), claim.spec.done)
            insist(claim.first_step == before < claim.last_step, "a step is billed twice, or not at all", claim)
            insist(claim.goods is Goods.CHECKPOINT or claim.last_step == claim.spec.steps, "half a picture is sold")
            self._ends[tuple(place)] = claim.last_step

    def whole(self) -> None:
        self._seen = 0
        self._ends.clear()
        self.changed()


class OpenedJudge(Judge):
    """What a key has opened is what was ordered; where it opened something else there is evidence of it."""

    def __init__(self, stage: Any, actor: Any) -> None:
        super().__init__(stage, actor)
        self._judged: set[bytes] = set()

    def changed(self) -> None:
        if not self.actor.honest:
            return
        query = (
            "SELECT d.hashlock, d.lease, d.job, d.picture, d.step, d.plain, d.receipt, l.provider, l.distrust "
            "FROM deliveries d JOIN leases l ON l.id = d.lease WHERE length(d.key)"
        )
        for lock, lease, job, picture, step, plain, receipt, provider, distrust in self.rows(query):
            if lock in self._judged:
                continue
            self._judged.add(lock)
            shop = self.stage.shops.get(provider)
            if shop is not None and shop.honest:
                insist(plain == self._made(lease, job, picture, step, receipt), "not what was ordered", step)
            elif not plain:
                insist(bool(distrust), "paid, and neither goods nor distrust", step)

    def whole(self) -> None:
        self._judged.clear()
        self.changed()

    def _made(self, lease: bytes, job: bytes, picture: int, step: int, receipt: bytes) -> bytes:
        [(body,)] = self.rows("SELECT body FROM jobs WHERE lease=? AND id=?", lease, job)
        seed = wire.decode(JobBody, body).seed + picture
        if step:
            return state_of(seed, step)
        return decoded(state_of(seed, from_bytes(receipt, Receipt).doc.spec.steps))
