"""Who draws the next picture. Rule: whoever will have it soonest, what each already has to do counted in.

Pure. A slow lane gets a picture only if it will be done with it before the fast ones would be; towards the end nothing
waits for the slowest, and a picture that is late is drawn a second time elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpufair.client.batch.dealing import Hand, deal
from gpufair.client.batch.lanes import Lane, LaneState

if TYPE_CHECKING:
    from gpufair.client.batch.board import Board

DEPTH = 2
"""Pictures that a lane has under way: one is drawn, one waits there, so that the worker never waits for us."""
GAIN = 2.0
"""A second try is worth its money if the first one is expected to take this many times as long from now."""


def hand_of(board: Board, lane: Lane, now: float) -> Hand:
    """A lane as it stands, with its money."""
    due = board.finish(lane, now).values()
    start = lane.seller.start if lane.state is LaneState.OPENING else 0.0
    return Hand(lane.seller, max(due, default=now + start), board.seconds(lane), lane, lane.left)


def share(board: Board, now: float) -> list[tuple[Lane, int]]:
    """What to order where."""
    hands = [hand_of(board, lane, now) for lane in board.lanes if lane.is_alive]
    room = {
        lane.number: DEPTH - len(lane.tries) if lane.state is LaneState.OPEN else 0
        for lane in board.lanes
        if lane.is_alive
    }

    def enough() -> bool:
        return all(len(hand.dealt) >= room[hand.lane.number] for hand in hands if hand.lane is not None)

    deal(hands, board.waiting, board.may_try, enough)
    return [
        (hand.lane, place) for hand in hands if hand.lane is not None for place in hand.dealt[: room[hand.lane.number]]
    ]


def late(board: Board, now: float) -> list[tuple[int, float]]:
    """Pictures that one lane alone is at, not signed for, and when they are expected, the latest first.

    None while others wait.
    """
    if not board.hedge or board.waiting:
        return []
    open_ = {one.place for lane in board.lanes for one in lane.tries if not one.signed}
    due = [one for lane in board.lanes for one in board.finish(lane, now).items() if one[0] in open_]
    return sorted((one for one in due if len(board.lanes_of(one[0])) == 1), key=lambda one: (-one[1], one[0]))


def second_tries(board: Board, now: float) -> list[tuple[Lane, int]]:
    """Late pictures that a lane which has nothing to do would have much sooner: at most one for each such lane."""
    idle = [hand_of(board, lane, now) for lane in board.going if not lane.tries]
    orders: list[tuple[Lane, int]] = []
    for place, at in late(board, now):
        able = [hand for hand in idle if hand.takes(place, board.may_try) and worth_it(at - now, hand.seconds(place))]
        if able:
            best = min(able, key=lambda hand: hand.seconds(place))
            idle.remove(best)
            if best.lane is not None:
                orders.append((best.lane, place))
    return orders


def worth_it(remaining: float, again: float) -> bool:
    """Whether to draw a picture again that will take so long from now, where that takes `again`."""
    return remaining > GAIN * again
