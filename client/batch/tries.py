"""Tries at pictures. Rule: a try is on disk before it is ordered, and said to be over only for what the wallet says.

A picture that was left undone goes on from the newest state that was bought of it (`wallet.remains`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpufair.client.batch import events as ev
from gpufair.client.batch import records
from gpufair.client.batch.atwork import AtWork, now
from gpufair.client.batch.board import Board
from gpufair.client.batch.records import Batch
from gpufair.client.buyer import Buyer
from gpufair.client.market.continued import continued
from gpufair.client.market.wish import Wish
from gpufair.client.wallet import remains
from gpufair.client.wallet.batches import TryRow
from gpufair.client.wallet.remains import Rest
from gpufair.protocol import limits

Listen = Callable[[ev.BatchEvent], None]


class Tries:
    """Begins and ends the tries of one batch, on disk and on its board."""

    def __init__(self, buyer: Buyer, batch: Batch, board: Board, wishes: Sequence[Wish], listen: Listen) -> None:
        self._buyer = buyer
        self._store = buyer.store
        self._batch = batch
        self._board = board
        self._wishes = wishes
        self._listen = listen

    def begin(self, at: AtWork, place: int, *, second: bool) -> Wish:
        """Write a try down; what is to be ordered."""
        wish = self._wishes[place]
        rest = None if second else self._rest(place)  # what is under way elsewhere is not gone on without
        job = at.jobs[place] = self._buyer.desk.random.bytes(16)
        records.begin(self._store, self._batch.id, place, at.opened.id, job)
        if second:
            self._listen(ev.SecondTry(place, at.lane.seller.did))
        if rest is None:
            return wish
        self._listen(ev.WentOn(place, at.lane.seller.did, rest.spec.done, rest.spec.steps))
        highest = wish.max_price if wish.max_price is not None else self._buyer.config.max_price
        return continued(rest, wish, max_price=limits.AMOUNT_MAX if highest is None else highest)

    def drop(self, at: AtWork, place: int) -> None:
        """Sign nothing more for a try."""
        records.off(self._store, at.opened.id, at.jobs[place])

    def settle(self, at: AtWork, place: int, why: str = "", *, blame: bool = False) -> bool:
        """Say what became of a try that is over; False if it was signed for and is not here."""
        one = TryRow(at.opened.id, at.jobs[place], self._batch.id, place, off=False, doubtful=False)
        if records.is_open(self._store, one):
            self._here(at, place)
        elif records.is_signed(self._store, one):
            return False
        else:
            records.off(self._store, one.lease, one.job)
            self.nothing(at, place, why, blame=blame)
        return True

    def doubt(self, at: AtWork, place: int) -> None:
        """A key that was paid for doesn't come: the picture is bought elsewhere."""
        records.doubt(self._store, at.opened.id, at.jobs[place])
        self.nothing(at, place, "its key never came", blame=True)

    def nothing(self, at: AtWork, place: int, why: str, *, blame: bool) -> None:
        """A try came to nothing."""
        cost = records.paid(self._store, at.opened.id, at.jobs[place])
        self._board.came_to_nothing(at.lane, place, cost, blame=blame)
        if why:
            records.note(self._store, self._batch.id, place, why)
            self._listen(ev.TryFailed(place, at.lane.seller.did, why))

    def _here(self, at: AtWork, place: int) -> None:
        lease, job = at.opened.id, at.jobs[place]
        cost, is_new = records.paid(self._store, lease, job), place not in self._board.done
        self._board.finished(at.lane, place, cost, now())
        if is_new:
            records.bought(self._store, self._batch.id, place, lease, job)
            self._listen(ev.PictureHere(place, at.lane.seller.did, cost, lease, job))

    def _rest(self, place: int) -> Rest | None:
        """What is left of a picture from the furthest state that was bought of it; None if there is none."""
        tried = records.tries(self._store, self._batch.id, place)
        rests = [
            rest
            for one in tried
            if records.is_ordered(self._store, one)
            for rest in remains.of(self._store, one.lease, one.job, doubtful=one.doubtful)
            if rest.spec.done
        ]
        return max(rests, key=lambda rest: rest.spec.done, default=None)
