"""Words and outages that would cost the provider its pay, one by one: what it took it can always collect."""

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import World

from gpufair.client.session.events import JobDeclined
from gpufair.protocol import envelope, limits
from gpufair.protocol.envelope import pre_authentication_encoding
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import (
    Captured,
    Closing,
    Envelope,
    HoldOrder,
    Opened,
    Outcome,
    ReasonCode,
    Signature,
    Voucher,
)
from gpufair.provider.jobs import office
from gpufair.provider.jobs.leases import Leases, Policy
from gpufair.provider.jobs.store import AttemptRow, LeaseRow, OutboxRow
from gpufair.provider.ledger import Ledger, Store


def outbox(world):
    with world.store.read() as rows:
        return [order.lease for order in rows.all(OutboxRow)]


def padded(desk, doc, size):
    """The same document in more bytes: protobuf readers skip fields that they do not know, and signatures cover all."""
    payload = envelope.sign(doc, desk.signer).envelope.payload
    length = bytes([size & 127 | 128, (size >> 7) & 127 | 128, size >> 14])
    payload += b"\xc2\x3e" + length + bytes(size)  # field 1000, length-delimited
    encoding = pre_authentication_encoding(doc.TYPE, payload)
    return Envelope(payload, doc.TYPE, (Signature(desk.did, desk.signer.sign(encoding)),))


@pytest.mark.parametrize("size", [limits.INSTRUCTION_MAX, limits.PAYLOAD_MAX - 2_000])
def test_a_voucher_that_no_ledger_would_take_buys_nothing(deal, size):
    """Padded, it would fit through our door and not, inside a capture, through the ledger's: work for nothing."""
    d = deal()
    d.order()
    d.pump()
    d.work(d.queue.pop())
    [(lock,)] = d.shop_db.rows("SELECT hashlock FROM deliveries")
    row = d.session.account().lease
    head = d.desks["client"].head(row.ledger, row.provider, parent=row.id, expires_at_ms=row.hold_expires_ms)
    d.pump()
    [true] = d.shop_db.rows("SELECT kept FROM leases")
    bloated = padded(d.desks["client"], Voucher(head, d.lease, 1000, ()), size)
    with pytest.raises(PeerError) as refusal:
        d.leases.voucher(envelope.read(bloated, Voucher))
    assert refusal.value.fault is Fault.TOO_LARGE
    assert d.shop_db.rows("SELECT kept FROM leases") == [true], lock
    d.leases.close(d.lease, "enough", Outcome.CANCELLED)
    [answer] = d.collect()
    assert envelope.read(answer, Captured).doc.captured == 128


def test_one_lease_that_cannot_be_closed_keeps_no_other_open(tmp_path):
    world = World(tmp_path / "jobs.db")
    first, second = world.lease(), world.lease()
    with world.store.begin() as rows:  # whatever it is that goes wrong: here the database refuses a second capture
        rows.insert(OutboxRow(bytes(32), first.id, first.doc.ledger, b"", True, 0, b""))
    world.now = first.doc.lease_expires_at_ms
    world.office.perform(world.office.leases.tick())
    with world.store.read() as rows:
        states = {row.id: row.state for row in rows.all(LeaseRow)}
        assert states == {first.id: "funded", second.id: "closing"}
    assert outbox(world)[1:] == [second.id]


def test_leases_are_looked_after_while_attempts_cannot_be(tmp_path, monkeypatch):
    """What goes wrong every second with one of them must not leave the others' holds to run out."""
    monkeypatch.setattr(office, "TICK_S", 0.01)

    async def story():
        world = World(tmp_path / "jobs.db")
        await world.office.start()
        busy, lease = world.lease(), world.lease()
        job, order, _ = world.job(busy)
        world.office.perform(world.office.order(busy.id, order.envelope))
        with world.store.begin() as rows:
            rows.change(AttemptRow, {"job": job}, header=b"damaged")
        async with world.stream(lease) as line:
            await line.heard(Opened)
            world.now += limits.MINUTE
            await line.heard(Closing)
            assert outbox(world) == [lease.id]
        await world.office.stop(settle=False)

    asyncio.run(asyncio.wait_for(story(), 20))


@pytest.mark.parametrize("down_ms", [limits.HOUR, limits.LEASE_MAX_MS])
def test_what_was_earned_outlives_an_outage_of_the_ledger(deal, down_ms):
    """Up again, a ledger lets no hold end before payees had their time: then their captures must still be good (12)."""
    d = deal()
    d.buy()
    d.leases.close(d.lease, "enough", Outcome.CANCELLED)
    d.clock.ms = d.session.account().lease.hold_expires_ms + down_ms
    [order] = d.leases.captures.outbox()
    assert not d.leases.captures.give_up(order, d.clock.ms - limits.SKEW_MS)
    desk = d.desks["ledger"]
    d.ledger = Ledger(desk, Store(d.bank_db, desk.did), grace_ms=limits.MARGIN_MIN_MS)
    [answer] = d.collect()
    assert envelope.read(answer, Captured).doc.captured == 128
    assert d.shop_db.rows("SELECT state FROM leases") == [("settled",)]


def test_a_hold_that_a_buyer_made_very_long_can_be_captured(agreed):
    """The ledger allows holds as long as captures; ours must not be longer, however soon it follows."""
    d = agreed()
    bank, buyer = d.desks["ledger"], d.desks["client"]
    head = buyer.head(bank.did, parent=d.lease)
    longest = HoldOrder(head, d.lease, d.desks["provider"].did, 5000, d.clock.ms + limits.HOLD_MAX_MS)
    hold = d.ledger.submit(buyer.sign(longest).envelope)
    d.clock.ms -= limits.MINUTE  # our own clock is a little behind the ledger's
    d.leases.fund(hold)
    d.leases.close(d.lease, "enough", Outcome.CANCELLED)
    d.clock.ms += limits.MINUTE
    [answer] = d.collect()
    assert envelope.read(answer, Captured).doc.closed


def test_strangers_that_fund_all_at_once_get_no_more_than_their_common_share(agreed):
    """Unfunded leases reserve nothing, so each of many bids finds room: it is at its funding that a lease takes it."""
    d = agreed(window=200)
    d.leases = Leases(d.desks["provider"], d.shop, Policy(10**9, unsecured=199))
    hold = d.ledger.submit(d.buying.order_hold(d.lease).envelope)
    d.perform(d.leases.fund(hold))
    assert d.shop_db.rows("SELECT state FROM leases") == [("abandoned",)]
    assert d.leases.fund(hold) == []
    [answer] = d.collect()
    assert envelope.read(answer, Captured).doc.released == 5000, "and its money goes back at once"


def test_a_lease_has_only_so_many_jobs_whatever_they_cost(deal, monkeypatch):
    """Ordered and cancelled, a job costs nothing, and yet is read again whenever the lease is looked at."""
    monkeypatch.setattr(limits, "JOBS_PER_LEASE_MAX", 2)
    d = deal()
    for _ in range(3):
        d.order()
        d.pump()
    assert len(d.shop_db.rows("SELECT state FROM attempts")) == 2
    [declined] = d.told(JobDeclined)
    assert [reason.code for reason in declined.reasons] == [ReasonCode.LIMIT]
