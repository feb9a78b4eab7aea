"""The ledger's orders: one effect each, an answer that says it, and the same outcome whoever comes first."""

import threading

import pytest

from gpufair.protocol import envelope, limits
from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.messages import (
    Captured,
    Decline,
    Hold,
    HoldOrder,
    Issue,
    Pay,
    Posted,
    ReasonCode,
)
from gpufair.provider.ledger import Ledger


def test_the_way_of_a_payment(world, tools):
    posted = world.issue("alice", 1000)
    assert (posted.event, posted.account, posted.available, posted.held) == (1, world.alice.did, 1000, 0)
    hold = world.hold("alice", "bob", "L", 300)
    assert (hold.payer, hold.payee, hold.amount, hold.event) == (world.alice.did, world.bob.did, 300, 2)
    assert set(hold.head.audience) == {world.alice.did, world.bob.did}
    assert world.balance("bob") == (0, 0, 300)
    captured = world.capture("bob", "L", 100, [("a", 50), ("b", 25)], ["a"])
    assert (captured.paid, captured.captured, captured.released, captured.closed) == (150, 150, 0, False)
    assert world.hold_state("alice", "L").keys == (tools.key("a"),)
    captured = world.capture("bob", "L", 175, final=True)
    assert (captured.paid, captured.captured, captured.released, captured.closed) == (25, 175, 125, True)
    assert (world.balance("alice"), world.balance("bob")) == ((825, 0, 0), (175, 0, 0))
    posted = world.pay("bob", "carol", 75)
    assert (posted.account, posted.available) == (world.bob.did, 100)
    assert world.redeem("bob", 100).available == 0
    assert world.ledger.status().outstanding == 900


def test_an_answer_names_its_order_and_can_be_read_years_later(funded):
    order = funded.sign("alice", Pay, funded.bob.did, 5, "")
    answer = funded.ledger.submit(order.envelope)
    funded.clock.ms += 365 * 24 * 3_600_000
    received = funded.alice.receive(answer, Posted, lifetime_max_ms=limits.TIME_MAX_MS)
    assert received.doc.head.parent == order.id


def test_a_capture_that_pays_nothing_more_is_answered_and_leaves_no_event(funded):
    funded.capture("bob", "L", 100)
    before = funded.state()
    again = funded.capture("bob", "L", 100)
    assert (again.paid, again.captured, again.event) == (0, 100, 0)
    assert funded.state() == before


def test_a_key_shown_twice_is_learnt_once(funded, tools):
    funded.capture("bob", "L", 100, [("a", 50)], ["a"])
    assert funded.capture("bob", "L", 120, [("a", 50), ("b", 5)], ["a", "b"]).paid == 25
    assert funded.hold_state("alice", "L").keys == (tools.key("a"), tools.key("b"))


# --- races ---------------------------------------------------------------------------------------------------
def test_captures_that_race_in_threads_never_pay_more_than_the_best_of_them(make_world, tmp_path):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    orders = [world.capture_order("bob", "L", 10 * n).envelope for n in range(1, 25)]
    answers, gate = [], threading.Barrier(8)

    def capture(mine):
        gate.wait()
        answers.extend(Ledger.submit(world.ledger, order) for order in mine)

    threads = [threading.Thread(target=capture, args=(orders[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paid = [envelope.read(answer, Captured).doc.paid for answer in answers]
    assert sum(paid) == 240
    assert world.balance("alice") == (700, 60, 0)
    assert world.balance("bob") == (240, 0, 60)


def test_holds_that_race_for_the_same_credits(make_world, tmp_path):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 100)
    orders = [world.hold_order("alice", "bob", f"L{n}", 30).envelope for n in range(8)]
    answers = []
    threads = [threading.Thread(target=lambda o=o: answers.append(world.ledger.submit(o))) for o in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.payload_type for answer in answers) == [Decline.TYPE] * 5 + [Hold.TYPE] * 3
    assert world.balance("alice") == (10, 90, 0)


def test_orders_in_one_transaction_see_each_other(world):
    world.issue("alice", 100)
    orders = [
        world.hold_order("alice", "bob", "L", 100),
        world.sign("alice", Pay, world.carol.did, 1, ""),
        world.sign("bank", Issue, world.alice.did, 1, "same"),
        world.sign("bank", Issue, world.alice.did, 1, "same"),
        world.sign("alice", Pay, world.carol.did, 1, ""),
    ]
    kinds = [answer.payload_type for answer in world.ledger.submit_many([order.envelope for order in orders])]
    assert kinds == [Hold.TYPE, Decline.TYPE, Posted.TYPE, Decline.TYPE, Posted.TYPE]


def test_a_capture_comes_after_the_answer_to_its_hold(world):
    """The cheap check of the lease looks at what is committed: no payee knows of a hold before its answer is out."""
    world.issue("alice", 100)
    hold, capture = world.hold_order("alice", "bob", "L", 100), world.capture_order("bob", "L", 5)
    answers = world.ledger.submit_many([hold.envelope, capture.envelope])
    assert answers[0].payload_type == Hold.TYPE
    assert isinstance(answers[1], PeerError)
    assert isinstance(world.give(capture), Captured)


def test_the_book_of_another_identity_is_not_opened(world):
    with pytest.raises(LocalError):
        Ledger(world.alice, world.store)


def test_a_hold_order_is_what_it_says(funded, tools):
    """A payee's name in somebody else's order gives the payee nothing but the right to capture."""
    order = funded.sign("carol", HoldOrder, b"x" * 32, funded.bob.did, 5, funded.clock.ms + 60_000)
    tools.refused(funded.give(order), ReasonCode.FUNDS_SHORT)
