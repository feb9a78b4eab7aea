"""The board of a batch, in virtual time: all is done whoever dies, each picture paid once, never above the budget."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import Market, Rig

from gpufair.client.batch.board import TRIES_MAX, Board
from gpufair.client.batch.decisions import Order, Take
from gpufair.client.batch.lanes import MEGAPIXEL, Item, Seller

CHEAP, DEAR, SLOW = Rig("cheap", 10, 1.0), Rig("dear", 30, 0.25), Rig("slow", 12, 8.0)


def paid_to(market: Market) -> dict[str, int]:
    return {rig.did: sum(did == rig.did for did in market.paid.values()) for rig in market.rigs}


def test_whoever_is_fast_draws_more_and_all_end_together() -> None:
    market = Market([Rig("one", 10, 1.0), Rig("two", 10, 4.0)], 100, 2_000).run()
    assert market.board.is_over
    assert 75 <= paid_to(market)["one"] <= 85
    assert market.now <= 100 / (1 + 1 / 4) + 8, "nearly as soon as both together could be"
    assert market.cost == 1_000


def test_a_tight_budget_goes_to_the_cheapest_alone() -> None:
    market = Market([CHEAP, DEAR, SLOW], 40, 400).run()
    assert paid_to(market) == {"cheap": 40, "dear": 0, "slow": 0}


def test_a_larger_budget_buys_speed_as_far_as_it_goes() -> None:
    market = Market([CHEAP, DEAR], 100, 1_400).run()
    assert paid_to(market) == {"cheap": 80, "dear": 20}
    rich = Market([CHEAP, DEAR], 100, 3_000).run()
    assert rich.now < market.now / 2


def test_a_slow_one_gets_nothing_that_others_would_have_done_sooner() -> None:
    market = Market([Rig("quick", 10, 0.1), Rig("slow", 10, 50.0, says=50.0)], 20, 1_000).run()
    assert paid_to(market)["slow"] == 0
    assert market.now < 5


def test_a_straggler_is_hedged_unless_it_is_forbidden() -> None:
    rigs = [Rig("quick", 10, 0.5), Rig("lies", 10, 60.0, says=0.5)]
    market = Market(rigs, 20, 1_000).run()
    assert market.seconds
    assert market.now < 20
    assert Market(rigs, 20, 1_000, hedge=False).run().now > 60


def test_a_picture_that_nobody_can_draw_is_given_up_and_the_others_are_done() -> None:
    rigs = [Rig(name, 10, 0.5, fails=frozenset({3})) for name in "abcd"]
    market = Market(rigs, 10, 1_000).run()
    assert market.board.given_up == {3}
    assert set(market.paid) == set(range(10)) - {3}
    assert market.board._tries[3] <= TRIES_MAX


def test_where_nobody_is_left_it_says_so_and_keeps_what_is_here() -> None:
    market = Market([Rig("a", 10, 1.0, dies=5.0), Rig("b", 10, 1.0, refuses=True)], 50, 1_000).run()
    assert market.board.is_stuck
    assert 1 <= len(market.paid) < 50
    assert market.board.stake == market.cost


def test_money_that_is_too_short_buys_what_it_can() -> None:
    market = Market([CHEAP], 10, 55).run()
    assert market.board.is_stuck
    assert len(market.paid) == 5
    assert sorted(market.paid) == [0, 1, 2, 3, 4], "in order"


def test_several_workers_of_one_provider_are_several_leases() -> None:
    board = Board([Item(n, MEGAPIXEL) for n in range(40)], 1_000)
    board.market([Seller("rig", (10,) * 40, lanes=3)])
    taken = [one.lane for one in board.next(0.0) if isinstance(one, Take)]
    assert len(taken) == 3
    for lane in taken:
        board.opened(lane, 0.1)
    orders = [one for one in board.next(0.2) if isinstance(one, Order)]
    assert {order.lane.number for order in orders} == {0, 1, 2}
    assert sorted(order.place for order in orders) == list(range(6))


def test_what_was_bought_before_is_not_bought_again() -> None:
    board = Board([Item(n, MEGAPIXEL) for n in range(6)], 100)
    seller = Seller("rig", (10,) * 6)
    board.market([seller])
    for place in (0, 1):
        board.was_done(place)
    board.was_over(seller, 30)
    lane = board.taken_up(seller, 40, 0.0, places=[2], spent=10)
    orders = [one.place for one in board.next(0.1) if isinstance(one, Order)]
    assert orders == [3]
    assert board.stake == 70
    board.finished(lane, 2, 10, 1.0)
    assert board.done == {0, 1, 2}


rigs = st.lists(
    st.builds(
        Rig,
        did=st.uuids().map(str),
        price=st.integers(1, 50),
        pace=st.sampled_from([0.1, 0.5, 1.0, 3.0, 20.0]),
        dies=st.sampled_from([1e9, 1e9, 0.05, 2.0, 7.0, 30.0]),
        says=st.sampled_from([0.0, 0.5, 5.0]),
        refuses=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda rig: rig.did,
)


@settings(max_examples=120)
@given(rigs, st.integers(1, 60), st.integers(1, 4_000), st.booleans())
def test_the_budget_is_a_law_and_all_is_paid_once(some: list[Rig], pictures: int, budget: int, hedge: bool) -> None:
    """`Market` asserts both after each event; here: it always comes to an end, one way or the other."""
    market = Market(some, pictures, budget, hedge=hedge).run()
    assert market.board.is_over or market.board.is_stuck
    assert market.board.done == set(market.paid)


@settings(max_examples=120)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.sampled_from([0.1, 0.5, 1.0, 3.0])), min_size=2, max_size=5),
    st.integers(1, 60),
    st.integers(0, 4),
    st.floats(0, 40),
)
def test_whichever_single_provider_dies_at_whatever_time_all_is_done(
    terms: list[tuple[int, float]], pictures: int, victim: int, dies: float
) -> None:
    some = [Rig(f"rig {n}", price, pace) for n, (price, pace) in enumerate(terms)]
    some[victim % len(some)].dies = dies
    market = Market(some, pictures, budget=pictures * max(rig.price for rig in some)).run()
    assert market.board.is_over
    assert set(market.paid) == set(range(pictures))
