"""The provider's core, message by message: what it takes, what it refuses, what it commits before it answers."""

from dataclasses import replace

import pytest

from gpufair.protocol import envelope, limits, wire
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Answer,
    Body,
    Cancel,
    Captured,
    Closing,
    Decline,
    Envelope,
    Hold,
    JobAcceptance,
    JobEnded,
    JobHeader,
    Kept,
    KeyReveal,
    Lock,
    Order,
    Outcome,
    Reason,
    ReasonCode,
    Voucher,
)
from gpufair.provider.report import earnings

STRANGER = KeySigner.from_seed(bytes([9]) * 32)


def refused(fault, act, *args):
    with pytest.raises(PeerError) as refusal:
        act(*args)
    assert refusal.value.fault is fault, refusal.value
    return refusal.value


def states(deal, table="attempts"):
    return [state for (state,) in deal.shop_db.rows(f"SELECT state FROM {table} ORDER BY rowid")]


def voucher(deal, unlocked, *locks, head=None, **changes):
    row = deal.session.account().lease
    head = head or deal.desks["client"].head(row.ledger, row.provider, parent=row.id, expires_at_ms=row.hold_expires_ms)
    return deal.desks["client"].sign(replace(Voucher(head, deal.lease, unlocked, locks), **changes))


def test_a_picture_is_sold_and_settled(deal):
    d = deal(cold_load=50)
    d.buy()
    assert states(d) == ["paid"]
    d.say(d.session.finish())
    d.pump()
    [answer] = d.collect()
    captured = envelope.read(answer, Captured).doc
    assert (captured.captured, captured.released, captured.closed) == (178, 5000 - 178, True)
    assert states(d, "leases") == ["settled"]
    assert d.shop_db.rows("SELECT length(cipher), length(key) FROM deliveries") == [(0, 32)]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"amount": 4999}, Fault.NOT_ALLOWED),
        ({"payee": STRANGER.did}, Fault.NOT_ALLOWED),
        ({"payer": STRANGER.did}, Fault.NOT_ALLOWED),
        ({"lease": bytes(32)}, Fault.UNKNOWN),
        ({"hold_expires_at_ms": 1_800_000_000_000}, Fault.NOT_ALLOWED),
    ],
)
def test_a_hold_must_be_the_one_of_the_lease(agreed, changes, fault):
    d = agreed()
    true = envelope.read(d.ledger.submit(d.buying.order_hold(d.lease).envelope), Hold)
    false = d.desks["ledger"].sign(replace(true.doc, **changes))
    refused(fault, d.leases.fund, false.envelope)
    liar = replace(true.doc, head=replace(true.doc.head, issuer=STRANGER.did))
    refused(Fault.BAD_SIGNATURE, d.leases.fund, envelope.sign(liar, STRANGER).envelope)
    d.leases.fund(true.envelope)
    assert d.leases.fund(true.envelope) == []
    assert states(d, "leases") == ["funded"]


def test_an_unfunded_lease_is_abandoned_and_takes_no_stream(agreed):
    d = agreed()
    refused(Fault.NOT_ALLOWED, d.leases.open, d.lease)
    d.clock.ms += limits.FUNDING_TIMEOUT_MS
    d.leases.tick()
    assert states(d, "leases") == ["abandoned"]
    hold = d.ledger.submit(d.buying.order_hold(d.lease).envelope)
    d.perform(d.leases.fund(hold))
    [answer] = d.collect()
    assert envelope.read(answer, Captured).doc.released == 5000, "what came too late is given back at once"
    assert d.leases.fund(hold) == []
    assert states(d, "leases") == ["abandoned"]


def test_the_same_header_re_attaches_and_other_bytes_are_refused(deal):
    d = deal()
    d.order()
    [order] = d.ups
    d.pump()
    header = envelope.read(order.envelope, JobHeader)
    again = d.attempts.take(header)
    assert [type(e.message) for e in again] == [Answer]
    assert again[0].message.envelope.payload_type == JobAcceptance.TYPE
    client = d.desks["client"]
    other_work = client.sign(replace(header.doc, memory_bytes=1))
    refused(Fault.REPLAYED_DIFFERENT, d.attempts.take, other_work)
    same_job = client.sign(replace(header.doc, head=replace(header.doc.head, id=bytes(16)), memory_bytes=1))
    refused(Fault.REPLAYED_DIFFERENT, d.attempts.take, same_job)
    same_id = client.sign(replace(header.doc, job=bytes(16)))
    refused(Fault.REPLAYED_DIFFERENT, d.attempts.take, same_id)
    assert len(states(d)) == 1


def test_a_declined_job_is_declined_again(deal):
    d = deal()
    d.order(count=1, steps=2)
    [order] = d.ups
    header = envelope.read(order.envelope, JobHeader)
    dear = d.desks["client"].sign(replace(header.doc, spec=replace(header.doc.spec, count=60)))
    [first], [second] = d.attempts.take(dear), d.attempts.take(dear)
    assert first == second
    reasons = envelope.read(first.message.envelope, Decline).doc.reasons
    assert [r.code for r in reasons] == [ReasonCode.PRICE_ABOVE_CAP]
    assert states(d) == []


def test_a_body_that_the_header_does_not_name_is_rejected(deal):
    d = deal(cold_load=50)
    job = d.order()
    order = d.ups.pop(0)
    d.up(order)
    d.up(Body(job, bytes(envelope.read(order.envelope, JobHeader).doc.body_length)))
    ended = envelope.read(d.downs[-1].envelope, JobEnded).doc
    assert (ended.outcome, ended.upfront_credit) == (Outcome.REJECTED, 50)
    assert [r.code for r in ended.reasons] == [ReasonCode.BODY_WRONG]
    assert states(d) == ["rejected"]


def test_no_work_before_the_up_front_lines_are_paid(deal):
    d = deal(cold_load=50)
    job = d.order()
    d.up(d.ups.pop(0))
    d.say(d.session.on(d.downs.pop()))
    d.say(d.session.on(d.downs.pop()))
    pay, body = d.ups
    d.ups.clear()
    d.up(body)
    assert (states(d), d.queue) == (["accepted"], [])
    d.up(pay)
    assert (states(d), len(d.queue)) == (["queued"], 1)
    assert job


def test_a_key_goes_out_for_the_whole_price_only(deal):
    d = deal(window=200)
    d.order()
    d.pump()
    d.work(d.queue.pop())
    [(lock,)] = d.shop_db.rows("SELECT hashlock FROM deliveries")
    for bad in (voucher(d, 0, Lock(127, lock)), voucher(d, 500), voucher(d, 0, Lock(500, bytes(32)))):
        assert not [e for e in d.leases.voucher(bad) if isinstance(getattr(e, "message", None), KeyReveal)]
    paid = d.leases.voucher(voucher(d, 500, Lock(128, lock)))
    assert [type(e.message) for e in paid[:2]] == [Kept, KeyReveal]
    assert d.shop_db.rows("SELECT revealed FROM deliveries") == [(1,)]


def test_lower_and_foreign_vouchers_change_nothing(deal):
    d = deal()
    high = voucher(d, 300)
    d.leases.voucher(high)
    [answer] = d.leases.voucher(voucher(d, 299))
    assert answer.message == Kept(high.bytes)
    head = high.doc.head
    other = STRANGER.did
    client = d.desks["client"]
    bad = {
        Fault.UNKNOWN: client.sign(replace(high.doc, lease=bytes(32), unlocked=999)),
        Fault.WRONG_AUDIENCE: client.sign(replace(high.doc, head=replace(head, audience=(other, head.audience[1])))),
        Fault.EXPIRED: client.sign(replace(high.doc, head=replace(head, expires_at_ms=head.expires_at_ms - 1))),
        Fault.BAD_SIGNATURE: envelope.sign(replace(high.doc, head=replace(head, issuer=other)), STRANGER),
        Fault.FROM_THE_FUTURE: client.sign(replace(high.doc, head=replace(head, issued_at_ms=d.clock.ms + 121_000))),
    }
    for fault, document in bad.items():
        refused(fault, d.leases.voucher, document)
    forged = replace(high.envelope, payload=wire.encode(replace(high.doc, unlocked=999)))
    refused(Fault.BAD_SIGNATURE, d.leases.voucher, envelope.read(forged, Voucher))
    assert d.shop_db.rows("SELECT kept FROM leases") == [(high.bytes,)]


def test_surplus_money_does_not_widen_the_window(deal):
    """Two up-front lines must not be worked off as unpaid pictures, and then be charged again."""
    d = deal(window=200)
    d.order(count=3)
    d.pump()
    d.leases.voucher(voucher(d, 190))
    attempt = d.queue.pop()
    d.work(attempt)
    [row] = d.attempts.in_state("running")
    assert not d.attempts.has_room(row)


def test_closing_is_one_commit_and_final(deal):
    d = deal()
    d.order()
    d.pump()
    d.work(d.queue.pop())
    [(lock,)] = d.shop_db.rows("SELECT hashlock FROM deliveries")
    late = voucher(d, 0, Lock(128, lock))
    effects = d.leases.close(d.lease, "enough", Outcome.CANCELLED)
    assert any(getattr(e, "message", None) == Closing("enough") for e in effects)
    assert d.leases.close(d.lease, "again", Outcome.CANCELLED) == []
    [answer] = d.leases.voucher(late)
    assert answer.message == Closing("enough")
    assert d.shop_db.rows("SELECT revealed FROM deliveries") == [(0,)]
    assert d.shop_db.rows("SELECT final FROM outbox") == [(1,)]
    assert states(d) == ["expired"]


def test_captures_on_the_way_when_enough_has_gathered(deal):
    d = deal(capture_at=128)
    d.buy()
    d.buy()
    assert d.shop_db.rows("SELECT final FROM outbox") == [(0,)]
    [answer] = d.collect()
    assert envelope.read(answer, Captured).doc.paid == 128
    d.buy()
    [answer] = d.collect()
    assert envelope.read(answer, Captured).doc.captured == 128 * 3
    assert d.collect() == []


def test_a_lying_ledger_is_not_believed(deal):
    d = deal()
    d.buy()
    d.leases.close(d.lease, "done", Outcome.CANCELLED)
    [order] = d.leases.captures.outbox()
    true = envelope.read(d.ledger.submit(wire.decode(Envelope, order.envelope)), Captured)
    bank, take = d.desks["ledger"], d.leases.captures.captured
    refused(Fault.MALFORMED, take, order, bank.sign(replace(true.doc, captured=5001)).envelope)
    other = replace(true.doc, head=replace(true.doc.head, parent=bytes(32)))
    refused(Fault.BAD_SIGNATURE, take, order, bank.sign(other).envelope)
    assert states(d, "leases") == ["closing"]


def test_idle_and_late(deal):
    d = deal(cold_load=50)
    d.order()
    d.pump()
    d.clock.ms += 59_000
    d.leases.tick()
    assert states(d, "leases") == ["open"]
    d.clock.ms += 1_000
    d.perform(d.attempts.tick())
    ended = envelope.read(d.downs[-1].envelope, JobEnded).doc
    assert (ended.outcome, ended.upfront_credit) == (Outcome.EXPIRED, 50), "it never began: the cold load goes back"
    d.leases.tick()
    assert states(d, "leases") == ["closing"]


def test_a_delivered_and_unpaid_job_keeps_no_lease_open(deal):
    d = deal()
    d.order()
    d.pump()
    d.work(d.queue.pop())
    d.clock.ms += 61_000
    d.leases.tick()
    assert states(d, "leases") == ["closing"]


def test_a_picture_that_took_longer_than_the_idle_limit_is_paid_for(deal):
    d = deal()
    d.order()
    d.pump()
    attempt = d.queue.pop()
    d.attempts.start(attempt)
    d.clock.ms += 61_000
    d.leases.tick()
    d.work(attempt, begin=False)
    d.perform(d.leases.tick())
    assert states(d, "leases") == ["open"]
    d.pump()
    assert states(d, "attempts") == ["paid"]


def test_a_lock_for_less_buys_no_key_at_the_ledger_either(deal):
    d = deal()
    d.order()
    d.pump()
    d.work(d.queue.pop())
    [(lock,)] = d.shop_db.rows("SELECT hashlock FROM deliveries")
    d.leases.voucher(voucher(d, 0, Lock(1, lock)))
    assert d.shop_db.rows("SELECT revealed FROM deliveries") == [(0,)]
    d.leases.close(d.lease, "done", Outcome.CANCELLED)
    [answer] = d.collect()
    assert envelope.read(answer, Captured).doc.captured == 0
    assert d.hold_state().doc.keys == ()


def test_what_came_back_counts_against_the_cap(deal):
    """A credit can't be unsigned: it serves up-front lines alone, so pictures must fit the cap beside it."""
    d = deal(minimum=300, window=200, cap=556)
    d.order()
    d.pump()
    d.perform(d.attempts.end(d.queue.pop(), Outcome.FAILED, Reason(ReasonCode.WORKER_FAILED)))
    d.pump()
    with pytest.raises(LocalError, match="costs"):
        d.order(count=4)
    d.order(count=2)
    d.pump()
    attempt = d.queue.pop()
    for picture in range(2):
        d.work(attempt, picture, begin=picture == 0)
        d.pump()
    assert states(d, "attempts") == ["failed", "paid"]


def test_a_stopped_attempt_is_credited_if_we_stopped_it(deal):
    d = deal(cold_load=50)
    d.order()
    d.pump()
    d.attempts.start(d.queue[0])
    d.perform(d.attempts.end(d.queue[0], Outcome.FAILED, Reason(ReasonCode.RESTARTED)))
    ended = envelope.read(d.downs[-1].envelope, JobEnded).doc
    assert (ended.outcome, ended.upfront_credit) == (Outcome.FAILED, 50)
    assert d.attempts.end(d.queue[0], Outcome.FAILED) == []
    d.pump()
    second = d.order()
    d.pump()
    assert len(d.queue) == 2, "the credit pays the next cold load"
    assert not [up for up in d.ups if isinstance(up, Order)]
    assert second


def test_a_cancellation_may_cross_the_decline_of_its_job(deal):
    d = deal()
    cancel = envelope.read(d.session.cancel(bytes(16)).ups[0].envelope, Cancel)
    assert d.attempts.cancel(d.lease, cancel.envelope) == []
    stranger = replace(cancel.doc, head=replace(cancel.doc.head, issuer=STRANGER.did))
    refused(Fault.NOT_ALLOWED, d.attempts.cancel, d.lease, envelope.sign(stranger, STRANGER).envelope)


def test_what_a_closing_lease_is_owed_is_shown_until_the_ledger_has_paid_it(deal):
    d = deal()
    d.buy()
    d.leases.close(d.lease, "done", Outcome.CANCELLED)
    shown = earnings(d.shop, d.clock.now_ms())
    assert (shown["earned"], shown["pending"], shown["open_leases"]) == (0, 128, 0)
    d.collect()
    shown = earnings(d.shop, d.clock.now_ms())
    assert (shown["earned"], shown["pending"], shown["held"]) == (128, 0, 0)
