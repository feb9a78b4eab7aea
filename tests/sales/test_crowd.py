"""Identities are free, addresses are not: a crowd from one address keeps nobody else out, and nobody is churned."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.lifecycle import LeaseState
from gpufair.protocol.messages import ReasonCode
from gpufair.provider.jobs.store import LeaseRow, OutboxRow
from gpufair.provider.sales.crowd import Crowd


def states(world: Any) -> Counter[str]:
    with world.store.read() as rows:
        return Counter(lease.state for lease in rows.all(LeaseRow))


@pytest.fixture
def crowded(world: Any) -> Any:
    """A seller whose places for unfunded leases one address has taken, under as many identities as it takes."""
    world.bids = [world.bid(client=f"sybil {number // 2}") for number in range(limits.UNFUNDED_MAX)]
    for bid in world.bids:
        assert world.place(bid, "crowd") == bid.id
        world.now += 1
    return world


def test_another_address_takes_the_place_of_the_crowds_oldest(crowded: Any) -> None:
    bid = crowded.bid(client="honest")
    assert crowded.place(bid, "elsewhere") == bid.id
    assert states(crowded) == {LeaseState.AGREED: limits.UNFUNDED_MAX, LeaseState.ABANDONED: 1}
    with crowded.store.read() as rows:
        [gone] = rows.all(LeaseRow, state=LeaseState.ABANDONED)
    assert gone.id == crowded.bids[0].id
    crowded.fund(bid)
    assert states(crowded)[LeaseState.FUNDED] == 1


def test_whoever_gave_way_gets_its_money_back_at_once(crowded: Any) -> None:
    crowded.place(crowded.bid(client="honest"), "elsewhere")
    crowded.leases.fund(crowded.hold(crowded.bids[0]))
    with crowded.store.read() as rows:
        [order] = rows.all(OutboxRow)
    assert (order.lease, order.final) == (crowded.bids[0].id, True)


def test_the_crowd_itself_is_told_that_there_is_no_place(crowded: Any) -> None:
    answer = crowded.place(crowded.bid(client="one sybil more"), "crowd")
    assert isinstance(answer, Signed)
    [reason] = answer.doc.reasons
    assert (reason.code, reason.wanted) == (ReasonCode.TOO_MANY_LEASES, limits.UNFUNDED_MAX + 1)
    assert states(crowded) == {LeaseState.AGREED: limits.UNFUNDED_MAX}


def test_a_bid_that_is_declined_costs_nobody_a_place(crowded: Any) -> None:
    assert isinstance(crowded.place(crowded.bid(client="honest", cap=10**12), "elsewhere"), Signed)
    assert states(crowded) == {LeaseState.AGREED: limits.UNFUNDED_MAX}


def test_after_a_restart_all_that_is_left_is_one_crowd(crowded: Any) -> None:
    crowded.restart()
    bid = crowded.bid(client="honest")
    assert crowded.place(bid, "elsewhere") == bid.id


def test_however_many_bid_the_shares_settle_and_nobody_is_pushed_out_for_ever() -> None:
    """Three addresses that bid all the time: each ends with a third, and then nothing changes any more."""
    dice, crowd, held = random.Random(1), Crowd(), list[bytes]()
    changes = []
    for number in range(3000):
        lease, source = number.to_bytes(4, "big"), dice.choice("aab" if number < 1000 else "abc")
        if len(held) == limits.UNFUNDED_MAX:
            gone = crowd.gives_way(held, source)
            if gone is None:
                continue
            held.remove(gone)
            changes.append(number)
        held.append(lease)
        crowd.came(lease, source)
    shares = Counter(crowd._sources[lease] for lease in held)
    assert max(shares.values()) - min(shares.values()) <= 1
    assert len(changes) < limits.UNFUNDED_MAX
    assert max(changes) < 2000


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    crowd = Crowd()
    for number in range(2 * limits.LEASES_MAX):
        crowd.came(number.to_bytes(4, "big"), "somewhere")
    assert len(crowd._sources) == limits.LEASES_MAX
