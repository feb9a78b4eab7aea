"""One lease of a simulated market's buyer. Rule: what its provider leaves undone goes on elsewhere, as the wallet says.

Whether a provider is lost or has stalled the real vigil tells; what is left of a picture, and from which state it goes
on, the wallet. Here is only the clock that looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dealing import GOOD, Dealing
from errand import Errand, Ordered
from network import Stream

from gpufair.client.session.vigil import Vigil
from gpufair.client.wallet import remains, sequels
from gpufair.client.wallet.batches import TryRow
from gpufair.client.wallet.store import JobRow
from gpufair.protocol import limits
from gpufair.protocol.lifecycle import JobState
from gpufair.protocol.messages import JobBody

BATCH = b"b" * 16
"""All that a buyer wants is one batch."""
LOOKS_MS = limits.BEAT_MS


@dataclass
class Purchase(Errand):
    """What is wanted under one lease: these places of the batch."""

    places: tuple[int, ...] = ()


class Buying(Dealing):
    """A lease for some places of the batch."""

    given_up = False

    def __init__(self, client: Any, lease: bytes, errand: Purchase) -> None:
        super().__init__(client, lease, errand)
        self.vigil = Vigil(self.sim.now)
        self.begun_ms = self.apart_ms = self.sim.now
        self.stalled: set[bytes] = set()

    def expect(self) -> None:
        """Look now and then whether it goes on."""
        self.later(LOOKS_MS, self.look)

    def look(self) -> None:
        """Go elsewhere if nothing comes of it any more. For a paid picture's key the ledger has the last word."""
        if self.given_up or (self.errand.places and all(state == JobState.PAID for state in self.states())):
            return
        if self._is_lost() and not self._waits_for_a_picture():
            self.sim.note("{} gives up on {}", self.name, self.shop.name)
            self.fence()
            self.client.over(self)
            return
        self.expect()

    def _is_lost(self) -> bool:
        now = self.sim.now
        if not self.opened:
            return now - self.begun_ms > self.client.shopping.patience_ms
        if self.stream is None:
            return now - self.apart_ms > limits.LOST_MS
        assert self.session is not None
        self.vigil.watch(self.session.going(), now)
        for job in self.vigil.stalled(now):
            if job in self.stalled:
                return True
            self.stalled.add(job)
            self.say(self.session.cancel(job))
            self.vigil.grant(job, now, limits.LOST_MS)
        return self.vigil.is_lost(now)

    def _waits_for_a_picture(self) -> bool:
        query = "SELECT 1 FROM deliveries WHERE lease=? AND step=0 AND locked AND NOT length(key)"
        return bool(self.client.db.rows(query, self.lease))

    def fence(self) -> None:
        """Sign nothing more for what was ordered here: it is bought elsewhere."""
        with self.client.store.begin() as rows:
            for one in rows.all(TryRow, lease=self.lease):
                rows.save(replace(one, off=True))

    # --- what is heard ---------------------------------------------------------------------------------------------

    def on_cut(self, stream: Stream) -> None:
        if self.stream is stream:
            self.apart_ms = self.sim.now
        super().on_cut(stream)

    def _on_down(self, stream: Stream, message: Any) -> None:
        if self.session is not None and self.opened:
            self.vigil.watch(self.session.going(), self.sim.now)
            self.vigil.heard(message, self.sim.now)
        super()._on_down(stream, message)

    # --- what is ordered -------------------------------------------------------------------------------------------

    def states(self) -> list[str | None]:
        """How it stands with each place's newest job under this lease."""
        query = "SELECT place, state FROM batch_tries t JOIN jobs j ON (t.lease, t.job) = (j.lease, j.id)"
        found = dict(self.client.db.rows(f"{query} WHERE t.lease=? ORDER BY j.rowid", self.lease))
        return [found.get(place) for place in self.errand.places]

    def wanted(self) -> int | None:
        if self.given_up or len(self.jobs()) >= len(self.errand.plan) + 4:
            return None
        return next((number for number, state in enumerate(self.states()) if state not in GOOD), None)

    def order_of(self, number: int) -> Ordered:
        """The place's picture from where it stands; its job's id is beside the place before it is ordered."""
        place, spec = self.errand.places[number], self.errand.plan[number]
        ordered = self._rest(place)
        if ordered is None:
            ordered = Ordered(spec, JobBody(self.client.bytes(16), "a cat", "", place, 1000))
        job = self.client.bytes(16)
        with self.client.store.begin() as rows:
            rows.insert(TryRow(self.lease, job, BATCH, place, off=False, doubtful=False))
        return replace(ordered, job=job)

    def _rest(self, place: int) -> Ordered | None:
        """What the wallet says is left of a picture that was tried before; None if nothing was ordered for it yet."""
        with self.client.store.read() as rows:
            tries = rows.all(TryRow, batch=BATCH, place=place)
            jobs = [rows.get(JobRow, lease=one.lease, id=one.job) for one in tries]
            first = min((job for job in jobs if job is not None), key=lambda job: job.created_ms, default=None)
            origin = sequels.origin(rows, first.lease, first.id) if first is not None else None
        left = remains.of(self.client.store, *origin) if origin is not None else ()
        return Ordered(left[0].spec, left[0].body, before=left[0].before) if left else None
