"""An order that comes again: the recorded answer, no second effect, and a decline is no trap for later."""

import dataclasses

import pytest

from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import (
    Decline,
    Issue,
    Pay,
    Posted,
)

MINUTE = 60_000


ORDERS = {
    "issue": lambda w: w.sign("bank", Issue, w.carol.did, 5, "cash 9"),
    "pay": lambda w: w.sign("alice", Pay, w.carol.did, 5, ""),
    "hold": lambda w: w.hold_order("alice", "carol", "M", 5),
    "capture": lambda w: w.capture_order("bob", "L", 5, [("a", 5)], ["a"]),
    "final capture": lambda w: w.capture_order("bob", "L", final=True),
}


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS.keys())
def test_the_same_bytes_again_get_the_recorded_answer_and_no_second_effect(funded, make):
    order = make(funded)
    first = funded.ledger.submit(order.envelope)
    state = funded.state()
    assert funded.ledger.submit(order.envelope) == first
    assert funded.ledger.submit_many([order.envelope] * 3) == [first] * 3
    funded.clock.ms += 50 * MINUTE
    assert funded.ledger.submit(order.envelope) == first, "long past its expiry"
    assert funded.state() == state


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS.keys())
def test_the_recorded_answer_outlives_a_restart(make_world, tmp_path, make):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    order = make(world)
    first, state = world.ledger.submit(order.envelope), world.state()
    world.restart()
    world.clock.ms += 50 * MINUTE
    assert world.ledger.submit(order.envelope) == first
    assert world.state() == state


def test_the_same_bytes_twice_in_one_transaction_have_one_effect(funded):
    order = funded.sign("alice", Pay, funded.carol.did, 5, "").envelope
    first, second = funded.ledger.submit_many([order, order])
    assert first == second
    assert funded.balance("carol")[0] == 5


def test_other_bytes_under_a_known_id_are_refused_and_change_nothing(funded):
    order = funded.sign("alice", Pay, funded.carol.did, 5, "")
    funded.give(order)
    state = funded.state()
    other = funded.alice.sign(dataclasses.replace(order.doc, amount=6))
    with pytest.raises(PeerError) as caught:
        funded.ledger.submit(other.envelope)
    assert caught.value.fault is Fault.REPLAYED_DIFFERENT
    assert funded.state() == state


def test_an_id_is_its_signers_own(funded):
    first = funded.sign("alice", Pay, funded.carol.did, 5, "")
    funded.give(first)
    head = dataclasses.replace(funded.carol.head(funded.bank.did), id=first.doc.head.id)
    assert isinstance(funded.give(funded.carol.sign(Pay(head, funded.bob.did, 1, ""))), Posted)


def test_a_declined_order_is_dead_a_new_one_is_not(funded):
    order = funded.sign("carol", Pay, funded.bob.did, 5, "")
    declined = funded.ledger.submit(order.envelope)
    funded.issue("carol", 100)
    assert funded.ledger.submit(order.envelope) == declined
    assert funded.balance("carol")[0] == 100
    assert isinstance(funded.pay("carol", "bob", 5), Posted)


def test_a_decline_is_forgotten_only_when_its_order_is_dead_of_age(funded):
    order = funded.sign("carol", Pay, funded.bob.did, 5, "")
    funded.ledger.submit(order.envelope)
    funded.issue("carol", 100)
    for _ in range(12):
        funded.clock.ms += MINUTE
        funded.ledger.expire()
        [again] = funded.ledger.submit_many([order.envelope])
        assert again.fault is Fault.EXPIRED if isinstance(again, PeerError) else again.payload_type == Decline.TYPE
    with funded.store.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM requests WHERE sequence IS NULL").scalar()
    assert kept == 0
    assert funded.balance("carol")[0] == 100


def test_a_ledger_that_is_never_idle_forgets_declines_too(funded):
    for _ in range(30):
        funded.ledger.submit(funded.sign("carol", Pay, funded.bob.did, 5, "").envelope)
        funded.clock.ms += MINUTE
    with funded.store.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM requests WHERE sequence IS NULL").scalar()
    assert kept < 15


def test_an_old_order_whose_decline_is_forgotten_between_the_checks_is_still_too_old(funded):
    order = funded.sign("carol", Pay, funded.bob.did, 5, "")
    funded.ledger.submit(order.envelope)
    funded.issue("carol", 100)
    funded.clock.ms += 8 * MINUTE
    prepared = funded.ledger.prepare(order.envelope)
    funded.clock.ms += 2 * MINUTE
    funded.ledger.expire()
    [answer] = funded.ledger.post([prepared])
    assert isinstance(answer, PeerError)
    assert answer.fault is Fault.EXPIRED
    assert funded.balance("carol")[0] == 100
