"""Which leases to take, and for how much. Rule: a dearer lease never costs the money that the rest needs elsewhere.

Pure. A lease is taken with whoever would, all being dealt out, draw a picture sooner than the lanes that are there; the
cheapest comes first. The first lease with a seller is small, to see how fast it is; a later one is for half of what it
would be dealt: who is fast comes back for more, and little is reserved with who is slow, or goes away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gpufair.client.batch import sharing
from gpufair.client.batch.dealing import Hand, deal
from gpufair.client.batch.lanes import Seller

if TYPE_CHECKING:
    from gpufair.client.batch.board import Board

LANES_MAX = 16
"""Leases at the same time."""
SHARE_MIN = 4
"""Pictures that a lease is for at least, if so many are left: below that the paperwork is most of it."""


def leases(board: Board, now: float) -> Iterator[tuple[Seller, int]]:
    """The sellers to take a lease with now, and the cap of each; each is among the board's lanes before the next."""
    if not board.waiting:
        yield from _for_the_late(board, now)
        return
    lanes = [sharing.hand_of(board, lane, now) for lane in board.lanes if lane.is_alive]
    could = [_could(board, seller, now) for seller in board.sellers for _ in range(_leases_more(board, seller, now))]
    deal([*lanes, *could], board.waiting, board.may_try)
    for hand in could:
        share = max(SHARE_MIN, len(hand.dealt) // 2) if board.is_measured(hand.seller) else SHARE_MIN
        places = _affordable(board, hand.seller, hand.dealt[:share])
        if places and sum(lane.is_alive for lane in board.lanes) < LANES_MAX:
            yield hand.seller, hand.seller.entry + sum(hand.seller.price(place) or 0 for place in places)


def cheapest(board: Board, place: int) -> int:
    """What a picture costs at least, with anybody who may still be asked; 0 if there is nobody."""
    usable = (seller for seller in board.sellers if not board.is_hopeless(seller) and board.may_try(seller, place))
    return min((price for seller in usable if (price := seller.price(place)) is not None), default=0)


def _leases_more(board: Board, seller: Seller, now: float) -> int:
    """How many more leases a seller could work on: those without money for anything that waits are about to end."""
    if not board.is_willing(seller, now):
        return 0
    here = (lane for lane in board.lanes if lane.is_alive and lane.seller.did == seller.did)
    return max(0, seller.lanes - sum(any(lane.can_pay(place) for place in board.waiting) for lane in here))


def _could(board: Board, seller: Seller, now: float) -> Hand:
    """A lease that could be taken, the pictures that the seller draws for us anyhow being first."""
    busy = [at for lane in board.lanes if lane.seller.did == seller.did for at in board.finish(lane, now).values()]
    can_be_paid = frozenset(_affordable(board, seller, board.waiting))
    return Hand(seller, max([now + seller.start, *busy]), board.seconds_at(seller), only=can_be_paid)


def _uncovered(board: Board) -> set[int]:
    """Waiting pictures that no lane has the money for."""
    left = {lane.number: lane.left for lane in board.lanes if lane.is_alive}
    missing = set()
    for place in board.waiting:
        for number, money in left.items():
            price = board.lanes[number].seller.price(place)
            if price is not None and price <= money and board.may_try(board.lanes[number].seller, place):
                left[number] = money - price
                break
        else:
            missing.add(place)
    return missing


def _affordable(board: Board, seller: Seller, wanted: Sequence[int]) -> list[int]:
    """The first of these pictures that can be bought here such that the rest can still be had elsewhere.

    Where the money is too short for all, only whoever is the cheapest is bought from, as far as it goes.
    """
    least = {place: cheapest(board, place) for place in _uncovered(board)}
    free = board.budget - board.stake
    spare = free - seller.entry - sum(least.values())
    short, cost, chosen = spare < 0, seller.entry, list[int]()
    for place in wanted:
        price = seller.price(place)
        if price is None or not board.may_try(seller, place):
            continue
        more = price - least.get(place, 0)
        if cost + price <= free and more <= (0 if short else spare):
            chosen.append(place)
            cost += price
            spare -= 0 if short else more
    return chosen


def _for_the_late(board: Board, now: float) -> Iterator[tuple[Seller, int]]:
    """A lease for a picture that is late where it is, if nobody who has nothing to do can take it."""
    free = board.budget - board.stake
    for place, at in sharing.late(board, now):
        if any(lane.is_alive and not lane.tries and lane.can_pay(place) for lane in board.lanes):
            continue
        at_work = {lane.seller.did for lane in board.lanes_of(place)}
        for seller in board.sellers:
            price, again = seller.price(place), seller.start + board.seconds_at(seller)(place)
            wanted = seller.did not in at_work and board.is_willing(seller, now) and board.may_try(seller, place)
            if wanted and price is not None and seller.entry + price <= free and sharing.worth_it(at - now, again):
                yield seller, seller.entry + price
                return
