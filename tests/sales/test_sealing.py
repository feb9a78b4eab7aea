"""The record shows the newest sealing key at once; a bid on the one before gets that one's lease while it is kept."""

from __future__ import annotations

import os
from typing import Any

import pytest

from gpufair.protocol import limits
from gpufair.protocol.messages import ReasonCode
from gpufair.provider.jobs.store import LeaseRow


@pytest.fixture
def dated(world: Any) -> Any:
    """The world, its first sealing key made now by its own clock."""
    first = world.path.parent / "keys" / "sealing.pem"
    os.utime(first, (world.now / 1000, world.now / 1000))
    return world


def turn(world: Any, ms: int) -> None:
    world.now += ms
    world.sealing.turn(world.now, world.leases.sealing_keys())


def key_of(world: Any, lease: bytes) -> bytes:
    with world.store.read() as rows:
        found: bytes = rows.get(LeaseRow, id=lease).sealing_key
    return found


def test_the_record_shows_the_newest_key_at_once(dated: Any) -> None:
    world = dated
    record, offer = world.broadcasts.record(), world.offers.current()
    assert record.doc.sealing_key == world.sealing.public
    turn(world, limits.SEALING_KEY_MS)
    world.now += 1  # far from its renewal, were it not for the key
    renewed = world.broadcasts.record()
    assert renewed.doc.sealing_key == world.sealing.public != record.doc.sealing_key
    assert renewed.doc.sequence > record.doc.sequence
    assert world.offers.current().doc.record == renewed.id
    assert world.offers.current().id != offer.id
    assert world.broadcasts.record() is renewed


def test_a_lease_names_the_key_of_its_own_record(dated: Any) -> None:
    world = dated
    world.now += limits.SEALING_KEY_MS - 1
    patient = {"accept_by_ms": world.now + limits.HOUR}
    bid, late = world.bid(**patient), world.bid(client="late", **patient)
    first = world.sealing.public
    turn(world, 1)
    second = world.sealing.public
    world.now += limits.SUPERSEDED_GRACE_MS // 2
    lease = world.place(bid)
    assert key_of(world, lease) == first, "in the grace the offer before is taken up, and its key is kept for it"
    assert key_of(world, world.place(world.bid(client="other"))) == second
    world.now += limits.FUNDING_TIMEOUT_MS
    world.leases.tick()
    turn(world, limits.SUPERSEDED_GRACE_MS)
    assert world.sealing.find(first) is None
    assert ReasonCode.OFFER_SUPERSEDED in world.reasons(late)


def test_no_lease_is_made_for_a_key_that_is_gone(dated: Any) -> None:
    """Where nobody renewed the offer when the key changed: a bid on it may come in its grace, long after."""
    world = dated
    world.now += limits.SEALING_KEY_MS - 1
    bid = world.bid(accept_by_ms=world.now + limits.HOUR)
    turn(world, 1)
    turn(world, limits.SUPERSEDED_GRACE_MS + 1)
    assert world.reasons(bid).keys() == {ReasonCode.OFFER_SUPERSEDED}
