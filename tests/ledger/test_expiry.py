"""A hold's time: only the ledger's clock, at arrival, says when it is over."""

import dataclasses

import pytest

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.messages import (
    Decline,
    Pay,
    Posted,
    ReasonCode,
)
from gpufair.provider.ledger.batch import Batch

MINUTE = 60_000


def test_a_hold_expires_by_the_ledgers_clock_and_gives_back_the_rest(funded, tools):
    funded.capture("bob", "L", 100)
    funded.clock.ms += 60 * MINUTE - 1
    assert funded.ledger.expire() == 0
    funded.clock.ms += 1
    assert funded.ledger.expire() == 1
    assert funded.ledger.expire() == 0
    assert funded.balance("alice") == (900, 0, 0)
    tools.refused(funded.capture("bob", "L", 200), ReasonCode.HOLD_CLOSED)


def test_a_capture_that_arrives_at_the_expiry_is_too_late_whoever_looked_before(funded, tools):
    funded.clock.ms += 60 * MINUTE
    tools.refused(funded.capture("bob", "L", 200), ReasonCode.HOLD_CLOSED)
    assert funded.balance("alice") == (1000, 0, 0)


def test_what_an_expired_hold_gives_back_can_be_spent_by_the_very_next_order(funded):
    assert isinstance(funded.pay("alice", "carol", 701), Decline)
    funded.clock.ms += 60 * MINUTE
    assert isinstance(funded.pay("alice", "carol", 1000), Posted)


def test_a_capture_may_wait_for_the_ledger_as_long_as_its_hold_lasts(funded):
    def lasting(lifetime):
        doc = funded.capture_order("bob", "L", 100).doc
        head = dataclasses.replace(doc.head, expires_at_ms=doc.head.issued_at_ms + lifetime)
        return funded.bob.sign(dataclasses.replace(doc, head=head))

    patient = lasting(60 * MINUTE)
    funded.clock.ms += 59 * MINUTE
    assert funded.give(patient).paid == 100
    with pytest.raises(PeerError) as caught:
        funded.give(lasting(limits.HOLD_MAX_MS + 1))
    assert caught.value.fault is Fault.MALFORMED


def test_a_late_capture_is_refused_even_when_more_holds_are_due_than_one_sweep_closes(funded, monkeypatch, tools):
    funded.hold("alice", "bob", "M", 10, lasts=1)
    monkeypatch.setattr(Batch, "due", lambda self, at_ms: [])
    funded.clock.ms += 60 * MINUTE
    tools.refused(funded.capture("bob", "L", 200), ReasonCode.HOLD_CLOSED)
    tools.refused(funded.capture("bob", "M", 5, final=True), ReasonCode.HOLD_CLOSED)
    assert funded.balance("alice") == (1000, 0, 0)


def test_after_a_start_nothing_expires_for_one_margin(make_world, tmp_path, tools):
    world = make_world(tmp_path / "book.db", grace_ms=tools.margin_ms)
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    world.hold("alice", "bob", "M", 300)
    world.clock.ms += 24 * 60 * MINUTE  # the ledger was down while both holds ran out
    world.restart()
    assert world.ledger.expire() == 0
    assert world.capture("bob", "L", 200).paid == 200
    world.clock.ms += tools.margin_ms - 1
    assert world.ledger.expire() == 0
    world.clock.ms += 1
    assert world.ledger.expire() == 2
    tools.refused(world.capture("bob", "M", 200), ReasonCode.HOLD_CLOSED)
    assert world.balance("alice") == (800, 0, 0)


def test_a_clock_that_goes_back_stops_the_ledger_instead_of_writing_nonsense(funded, tools):
    funded.clock.ms -= tools.skew_ms
    assert isinstance(funded.pay("alice", "bob", 1), Posted)
    funded.clock.ms -= 1
    order = funded.sign("alice", Pay, funded.bob.did, 1, "").envelope
    with pytest.raises(LocalError, match="clock went back"):
        funded.ledger.submit(order)
    funded.clock.ms += tools.skew_ms
    assert funded.ledger.submit(order).payload_type == Posted.TYPE
