"""Providers in virtual time, for the board of a batch. Rule: everything comes from what the test says, nothing from the
clock of this machine.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

from gpufair.client.batch.board import Board
from gpufair.client.batch.decisions import Close, Drop, Order, Take
from gpufair.client.batch.lanes import MEGAPIXEL, Item, Lane, LaneState, Seller

TICK = 0.5


@dataclass
class Rig:
    """A provider as it is: its price, its true pace, when it dies for good, and what it does with single pictures."""

    did: str
    price: int
    pace: float
    """Seconds for a picture of one step-megapixel."""
    dies: float = 1e9
    says: float = 0.0
    refuses: bool = False
    fails: frozenset[int] = frozenset()


@dataclass
class Market:
    """The rigs at work for one board. `paid` has who was paid for each picture, `peak` the most that was at stake."""

    rigs: list[Rig]
    pictures: int
    budget: int
    hedge: bool = True
    now: float = 0.0
    board: Board = field(init=False)
    paid: dict[int, str] = field(default_factory=dict)
    cost: int = 0
    peak: int = 0
    leases: list[Lane] = field(default_factory=list)
    seconds: list[tuple[str, int]] = field(default_factory=list)
    queues: dict[int, list[int]] = field(default_factory=dict)
    _events: list[tuple[float, int, str, Lane | None, int]] = field(default_factory=list)
    _number: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.by_did = {rig.did: rig for rig in self.rigs}
        self.board = Board([Item(n, MEGAPIXEL) for n in range(self.pictures)], self.budget, hedge=self.hedge)
        sellers = [Seller(rig.did, (rig.price,) * self.pictures, pace=rig.says, start=0.2) for rig in self.rigs]
        self.board.market(sorted(sellers, key=lambda one: (one.prices[0] or 0, one.did)))

    def run(self, until: float = 5_000) -> Market:
        self._later(0, "tick")
        while not self.board.is_over and not self.board.is_stuck and self._events and self.now < until:
            self.now, _, what, lane, place = heapq.heappop(self._events)
            self._happen(what, lane, place)
            for decision in self.board.next(self.now):
                self._carry_out(decision)
            self.peak = max(self.peak, self.board.stake)
            assert self.board.stake <= self.budget
        return self

    def _later(self, seconds: float, what: str, lane: Lane | None = None, place: int = -1) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._number), what, lane, place))

    def _is_dead(self, lane: Lane) -> bool:
        return self.now >= self.by_did[lane.seller.did].dies

    def _happen(self, what: str, lane: Lane | None, place: int) -> None:
        if lane is None:
            self._later(TICK, "tick")
        elif what == "answer":
            refused = self._is_dead(lane) or self.by_did[lane.seller.did].refuses
            self.board.lost(lane, 0, self.now) if refused else self.board.opened(lane, self.now)
        elif what == "lost" and lane.state is not LaneState.OVER:
            self.board.lost(lane, lane.spent, self.now)
        elif what == "drawn" and not self._is_dead(lane) and lane.state is not LaneState.OVER:
            self._drawn(lane, place)
        elif what == "settled" and lane.state is not LaneState.OVER:
            self.board.lost(lane, lane.spent, self.now, blame=False)

    def _drawn(self, lane: Lane, place: int) -> None:
        queue = self.queues[lane.number]
        if place not in queue:
            return  # it was dropped
        queue.remove(place)
        rig = self.by_did[lane.seller.did]
        if place in rig.fails:
            self.board.came_to_nothing(lane, place, 0)
        else:
            assert place not in self.paid, "a picture is paid for once"
            self.paid[place] = rig.did
            self.cost += rig.price
            assert self.cost <= self.budget
            self.board.finished(lane, place, rig.price, self.now)
        self._begin(lane)

    def _begin(self, lane: Lane) -> None:
        if queue := self.queues[lane.number]:
            self._later(self.by_did[lane.seller.did].pace, "drawn", lane, queue[0])

    def _carry_out(self, decision: Take | Order | Drop | Close) -> None:
        lane = decision.lane
        match decision:
            case Take():
                self.leases.append(lane)
                self.queues[lane.number] = []
                self._later(0.1, "answer", lane)
                dies = self.by_did[lane.seller.did].dies
                self._later(max(dies - self.now, 0) + 1, "lost", lane)
            case Order(_, place, second):
                self.queues[lane.number].append(place)
                if second:
                    self.seconds.append((lane.seller.did, place))
                if len(self.queues[lane.number]) == 1:
                    self._begin(lane)
            case Drop(_, place):
                queue = self.queues[lane.number]
                began = queue and queue[0] == place
                queue.remove(place)
                self.board.came_to_nothing(lane, place, 0)
                if began:
                    self._begin(lane)
            case Close():
                self._later(0.1, "settled", lane)
