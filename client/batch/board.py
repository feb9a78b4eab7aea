"""Where every picture of a batch stands. Rule: what the lanes can cost in all never exceeds the budget.

Pure: it is told what happened and says what to do next; a decision counts as carried out as soon as it is made. A
picture waits, is drawn in one lane or two, and is done once; a lane that is lost gives its pictures back. How fast a
seller is, is measured with each picture that it brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gpufair.client.batch import allotment, sharing
from gpufair.client.batch.decisions import Close, Decision, Drop, Order, Take
from gpufair.client.batch.lanes import MEGAPIXEL, Item, Lane, LaneState, Seller, Try, paced

UNKNOWN_PACE = 1.0
"""Seconds for a step-megapixel where nobody has said or measured anything: all the same, so that all are tried."""
TRIES_MAX = 5
"""How often a picture may come to nothing, lost lanes aside, before it is given up."""
TRIES_AT_ONE_MAX = 2
"""How often it is tried with one seller."""
STRIKES_MAX = 4
"""How often a seller may be lost or say no, without a picture in between, before it is left alone."""
COOL_S = 2.0
"""How long a seller is left alone after the first time; twice as long after each further one."""


@dataclass
class _Record:
    """What we have seen of a seller so far."""

    strikes: int = 0
    until: float = 0.0
    failed: Counter[int] = field(default_factory=Counter)
    """How often a picture came to nothing there."""
    pace: float = 0.0
    """Seconds for a step-megapixel, as measured; 0: not yet."""


class Board:
    """The pictures of one batch, the lanes that draw them, and the budget."""

    def __init__(self, items: Sequence[Item], budget: int, *, hedge: bool = True) -> None:
        self.items = tuple(items)
        self.work = {item.place: item.work for item in items}
        self.budget = budget
        self.hedge = hedge
        self.lanes: list[Lane] = []
        self.sellers: tuple[Seller, ...] = ()
        self.waiting = sorted(item.place for item in items)
        self.done: set[int] = set()
        self.given_up: set[int] = set()
        self._tries = dict.fromkeys(self.waiting, 0)
        self._records: dict[str, _Record] = {}

    # --- what happened -------------------------------------------------------------------------------------------

    def market(self, sellers: Iterable[Seller]) -> None:
        """These are the sellers now, cheapest first."""
        self.sellers = tuple(sellers)

    def taken_up(self, seller: Seller, cap: int, now: float, *, places: Iterable[int] = (), spent: int = 0) -> Lane:
        """A lane from before goes on, with what is under way in it."""
        lane = Lane(len(self.lanes), seller, cap, LaneState.OPEN, idle_since=now, spent=spent)
        self.lanes.append(lane)
        for place in places:
            self._start(lane, place, now)
        self.waiting = [one for one in self.waiting if not self.lanes_of(one)]
        return lane

    def was_over(self, seller: Seller, signed: int) -> Lane:
        """A lane from before is over, and has promised so much."""
        lane = Lane(len(self.lanes), seller, 0, LaneState.OVER, signed=signed)
        self.lanes.append(lane)
        return lane

    def was_done(self, place: int) -> None:
        """A picture is here from before."""
        self.done.add(place)
        self.waiting = [one for one in self.waiting if one != place]

    def opened(self, lane: Lane, now: float) -> None:
        """A lane's lease is funded."""
        lane.state, lane.idle_since = LaneState.OPEN, now

    def finished(self, lane: Lane, place: int, cost: int, now: float) -> None:
        """A picture is here, at this cost. What a second lane still does for it is dropped with the next decisions."""
        mine = self._take_back(lane, place)
        lane.spent += cost
        if mine is None or place in self.done:
            return
        record = self._record(lane.seller)
        record.pace = paced(record.pace, now - max(mine.since, lane.idle_since), self.work[place])
        lane.idle_since = now
        lane.done += 1
        self.done.add(place)
        self.waiting = [one for one in self.waiting if one != place]
        record.strikes = 0

    def came_to_nothing(self, lane: Lane, place: int, cost: int, *, blame: bool = True) -> None:
        """A picture ended in a lane before it was here. `blame`: not through the lane's end; it is not tried again
        with this seller, and not for ever with others.
        """
        mine = self._take_back(lane, place)
        lane.spent += cost
        if mine is None:
            return
        if blame:
            self._record(lane.seller).failed[place] += 1
            self._tries[place] += 1
        self._back_to_the_queue(place)

    def fenced(self, lane: Lane, now: float) -> None:
        """A lane's provider is given up: it gets nothing more, and its seller rests a while; `lost` will follow."""
        lane.state = LaneState.CLOSING
        self._strike(lane, now)

    def lost(self, lane: Lane, signed: int, now: float, *, blame: bool = True) -> None:
        """A lane is over, having promised so much; its pictures wait again. `blame`: its seller rests a while."""
        lane.state, lane.signed, lane.dropped = LaneState.OVER, signed, []
        if blame:
            self._strike(lane, now)
        for one in list(lane.tries):
            self._take_back(lane, one.place)
            self._back_to_the_queue(one.place)

    # --- what to do ----------------------------------------------------------------------------------------------

    def next(self, now: float) -> list[Decision]:
        """What to do next, in this order."""
        decisions: list[Decision] = list(self._drops())
        for seller, cap in allotment.leases(self, now):
            lane = Lane(len(self.lanes), seller, cap)
            self.lanes.append(lane)
            decisions.append(Take(lane))
        for lane, place in sharing.share(self, now):
            self._start(lane, place, now)
            self.waiting.remove(place)
            decisions.append(Order(lane, place))
        for lane, place in sharing.second_tries(self, now):
            self._start(lane, place, now)
            decisions.append(Order(lane, place, second=True))
        decisions += self._closings()
        return decisions

    @property
    def is_over(self) -> bool:
        """Whether every picture is here or given up."""
        return len(self.done) + len(self.given_up) == len(self.items)

    @property
    def stake(self) -> int:
        """What all lanes can cost, or have cost: never above the budget."""
        return sum(lane.stake for lane in self.lanes)

    @property
    def going(self) -> list[Lane]:
        """Lanes that are open."""
        return [lane for lane in self.lanes if lane.state is LaneState.OPEN]

    def may_try(self, seller: Seller, place: int) -> bool:
        """Whether a picture is sold there, and did not come to nothing there too often."""
        record = self._records.get(seller.did)
        return seller.price(place) is not None and (record is None or record.failed[place] < TRIES_AT_ONE_MAX)

    def is_willing(self, seller: Seller, now: float) -> bool:
        """Whether a seller may be asked for a lease now."""
        record = self._records.get(seller.did)
        return record is None or (record.strikes < STRIKES_MAX and record.until <= now)

    def is_hopeless(self, seller: Seller) -> bool:
        """Whether a seller is left alone for good."""
        record = self._records.get(seller.did)
        return record is not None and record.strikes >= STRIKES_MAX

    @property
    def is_stuck(self) -> bool:
        """Whether pictures wait and nobody is left who could be asked for them, or nothing to pay with."""
        if any(lane.state is not LaneState.OVER for lane in self.lanes) or not self.waiting:
            return False
        free = self.budget - self.stake
        usable = [seller for seller in self.sellers if not self.is_hopeless(seller)]
        return not any(
            self.may_try(seller, place) and (seller.price(place) or 0) + seller.entry <= free
            for seller in usable
            for place in self.waiting
        )

    def is_measured(self, seller: Seller) -> bool:
        """Whether it has drawn a picture for us."""
        return self.pace_of(seller, 0.0) > 0

    def pace_of(self, seller: Seller, otherwise: float) -> float:
        """Seconds for a step-megapixel as measured; `otherwise` before that."""
        record = self._records.get(seller.did)
        return (record.pace if record is not None else 0.0) or otherwise

    def seconds_at(self, seller: Seller) -> Callable[[int], float]:
        """How long a picture takes at a seller, by its place: as measured, else as it says, else as others take."""
        known = sorted(record.pace for record in self._records.values() if record.pace)
        usual = known[len(known) // 2] if known else UNKNOWN_PACE
        pace = self.pace_of(seller, seller.pace or usual) / MEGAPIXEL
        return lambda place: pace * self.work[place]

    def seconds(self, lane: Lane) -> Callable[[int], float]:
        """How long a picture takes in a lane, by its place."""
        return self.seconds_at(lane.seller)

    def finish(self, lane: Lane, now: float) -> dict[int, float]:
        """When each picture under way in a lane will be here, as far as one can tell."""
        return lane.finish(now, self.seconds(lane))

    def lanes_of(self, place: int) -> list[Lane]:
        """Where a picture is drawn just now."""
        return [lane for lane in self.lanes if any(one.place == place for one in lane.tries)]

    # --- inside --------------------------------------------------------------------------------------------------

    def _drops(self) -> list[Drop]:
        drops = []
        for lane in self.lanes:
            late = [one for one in lane.tries if one.place in self.done]
            lane.tries = [one for one in lane.tries if one not in late]
            lane.dropped += late
            drops += [Drop(lane, one.place) for one in late]
        return drops

    def _closings(self) -> list[Close]:
        """Lanes without a picture that nothing more can come to."""
        closings = []
        for lane in self.going:
            if lane.tries:
                continue
            useful = any(lane.can_pay(place) and self.may_try(lane.seller, place) for place in self._open_places())
            if not useful:
                lane.state = LaneState.CLOSING
                closings.append(Close(lane))
        return closings

    def _open_places(self) -> Iterable[int]:
        """Pictures that a lane could still get: those that wait, and those that others draw, should they be lost."""
        yield from self.waiting
        for lane in self.lanes:
            for one in lane.tries:
                yield one.place

    def _start(self, lane: Lane, place: int, now: float) -> None:
        price = lane.seller.price(place)
        lane.tries.append(Try(place, now, price or 0))

    @staticmethod
    def _take_back(lane: Lane, place: int) -> Try | None:
        """A picture is no longer under way in a lane; None if it was dropped before."""
        lane.dropped = [one for one in lane.dropped if one.place != place]
        found = next((one for one in lane.tries if one.place == place), None)
        if found is not None:
            lane.tries.remove(found)
        return found

    def _back_to_the_queue(self, place: int) -> None:
        if place in self.done or self.lanes_of(place) or place in self.waiting:
            return
        if self._tries[place] >= TRIES_MAX or not any(self.may_try(one, place) for one in self.sellers):
            self.given_up.add(place)
            return
        self.waiting.append(place)
        self.waiting.sort()

    def _strike(self, lane: Lane, now: float) -> None:
        record = self._record(lane.seller)
        record.until = now + COOL_S * 2**record.strikes
        record.strikes += 1

    def _record(self, seller: Seller) -> _Record:
        return self._records.setdefault(seller.did, _Record())
