"""The buyer's core, message by message: what it believes, what it signs, what it keeps."""

from dataclasses import replace

import pytest

from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.protocol import envelope
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Answer,
    Body,
    Chunk,
    Closing,
    Decline,
    Delivery,
    JobAcceptance,
    JobEnded,
    JobHeader,
    KeyReveal,
    Order,
    Outcome,
    Preview,
    Progress,
    Reason,
    ReasonCode,
    Receipt,
    Voucher,
)

STRANGER = KeySigner.from_seed(bytes([9]) * 32)


def kinds(turn_ups):
    return [up.envelope.payload_type.split(".")[2] if isinstance(up, Order) else type(up).__name__ for up in turn_ups]


def jobs(d):
    return d.wallet_db.rows("SELECT state, upfront, note FROM jobs ORDER BY rowid")


def refused(fault, act, *args):
    with pytest.raises(PeerError) as refusal:
        act(*args)
    assert refusal.value.fault is fault, refusal.value


def signed_by_provider(d, kind, **changes):
    """The provider's last answer of this kind, changed and signed again."""
    for message in reversed(d.downs):
        if isinstance(message, Answer) and message.envelope.payload_type == kind.TYPE:
            doc = envelope.read(message.envelope, kind).doc
            return Answer(message.job, d.desks["provider"].sign(replace(doc, **changes)).envelope)
    raise AssertionError


def accepted(d, **changes):
    """A job, ordered and accepted by the provider; the acceptance has not arrived."""
    job = d.order(**changes)
    d.up(d.ups.pop(0))
    return job


def delivered(d, **changes):
    """A job whose picture is on its way: the messages, in order."""
    d.order(**changes)
    d.pump()
    d.work(d.queue.pop(0))
    messages, d.downs = d.downs, []
    return messages


def test_a_picture_from_order_to_png(deal):
    d = deal(cold_load=50)
    job = d.buy()
    assert [type(e) for e in d.events if not isinstance(e, ev.StepDone)] == [
        ev.JobPlaced, ev.JobAccepted, ev.PictureLocked, ev.PictureOpened,
    ]  # fmt: skip
    [opened] = d.told(ev.PictureOpened)
    assert opened.png.startswith(b"\x89PNG" + job)
    assert jobs(d) == [("paid", 50, "")]
    account = d.session.account()
    assert (account.spent, account.upfront, account.paid_for) == (178, 50, 128)


def test_up_front_money_goes_out_before_the_body_and_the_body_once(deal):
    d = deal(cold_load=50)
    accepted(d)
    turn = d.session.on(d.downs[-1])
    assert kinds(turn.ups) == ["voucher", "Body"]
    assert envelope.read(turn.ups[0].envelope, Voucher).doc.unlocked == 50
    assert kinds(d.session.on(d.downs[-1]).ups) == [], "the same acceptance again"
    d.session.resume()
    assert kinds(d.session.on(d.downs[-1]).ups) == ["Body"], "a new stream may not have seen it"


@pytest.mark.parametrize(("upfront", "total"), [(50, 179), (51, 179), (0, 179), (49, 177), (178, 178)])
def test_another_price_than_the_quote_is_not_paid(deal, upfront, total):
    d = deal(cold_load=50)
    accepted(d)
    turn = d.session.on(signed_by_provider(d, JobAcceptance, upfront=upfront, total=total))
    assert [type(e) for e in turn.events] == [ev.Cheated]
    assert turn.ups == []
    assert jobs(d)[0][0] == "failed"


def test_the_cold_load_is_paid_once(deal):
    d = deal(cold_load=50)
    d.buy()
    accepted(d)
    turn = d.session.on(signed_by_provider(d, JobAcceptance, upfront=50, total=178))
    assert (turn.ups, turn.events) == ([], [])
    assert kinds(d.session.on(d.downs[-1]).ups) == ["Body"]


def test_answers_of_others_or_to_others_are_refused(deal):
    d = deal()
    job = accepted(d)
    doc = envelope.read(d.downs[-1].envelope, JobAcceptance).doc
    forged = envelope.sign(replace(doc, head=replace(doc.head, issuer=STRANGER.did)), STRANGER).envelope
    refused(Fault.BAD_SIGNATURE, d.session.on, Answer(job, forged))
    refused(Fault.UNKNOWN, d.session.on, Answer(bytes(16), d.downs[-1].envelope))
    other = signed_by_provider(d, JobAcceptance, head=replace(doc.head, parent=bytes(32)))
    refused(Fault.BAD_SIGNATURE, d.session.on, other)
    elsewhere = signed_by_provider(d, JobAcceptance, head=replace(doc.head, audience=(STRANGER.did,)))
    refused(Fault.WRONG_AUDIENCE, d.session.on, elsewhere)
    assert jobs(d) == [("placed", 0, "")]


def test_nothing_is_ordered_that_the_lease_cannot_pay(deal):
    d = deal(cap=200)
    d.order()
    with pytest.raises(LocalError) as refusal:
        d.order()
    assert refusal.value.fault is Fault.INSUFFICIENT_FUNDS
    assert "128" in refusal.value.what
    assert "72" in refusal.value.what
    assert len(jobs(d)) == 1


def test_nothing_is_ordered_under_a_closing_lease(deal):
    d = deal()
    d.session.on(Closing("enough"))
    with pytest.raises(LocalError) as refusal:
        d.order()
    assert refusal.value.fault is Fault.CONFLICT


LIES = {
    "another attempt": {"attempt": bytes(16)},
    "another lease": {"lease": bytes(32)},
    "other steps": {"last_step": 3},
    "not from the start": {"first_step": 1},
    "another price": {"increment": 129},
    "another ciphertext": {"cipher_sha256": bytes(32)},
    "another trace": {"trace_root": bytes(32)},
    "more leaves": {"leaf_count": 4},
}


@pytest.mark.parametrize("name", LIES)
def test_a_receipt_that_says_something_else_is_not_signed_for(deal, name):
    d = deal()
    messages = delivered(d)
    for message in messages:
        if isinstance(message, Delivery):
            doc = replace(envelope.read(message.receipt, Receipt).doc, **LIES[name])
            message = replace(message, receipt=d.desks["provider"].sign(doc).envelope)
        d.say(d.session.on(message))
    assert len(d.told(ev.Cheated)) == 1
    assert d.ups == []
    assert jobs(d)[0][0] == "failed"
    assert d.session.account().signed.locks == ()
    with pytest.raises(LocalError):
        d.order()


def test_a_receipt_for_another_picture_or_by_another_signer(deal):
    d = deal()
    delivery = next(m for m in delivered(d) if isinstance(m, Delivery))
    doc = envelope.read(delivery.receipt, Receipt).doc
    wrong = d.desks["provider"].sign(replace(doc, picture=1)).envelope
    refused(Fault.MALFORMED, d.session.on, replace(delivery, receipt=wrong))
    forged = replace(delivery.receipt, payload=delivery.receipt.payload + b"\x08\x01")
    refused(Fault.BAD_SIGNATURE, d.session.on, replace(delivery, receipt=forged))


def test_missing_steps_are_asked_for_and_not_for_ever(deal):
    d = deal()
    messages = [m for m in delivered(d) if not isinstance(m, Progress) or m.step != 1]
    asked = 0
    for _ in range(20):
        for message in messages:
            asked += len(d.session.on(message).ups)
    assert asked == 8
    assert not d.told(ev.Cheated)
    d.session.resume()
    again = [up for message in messages for up in d.session.on(message).ups]
    assert kinds(again) == ["job"]


def test_a_second_hashlock_for_a_picture_is_never_signed(deal):
    d = deal()
    messages = delivered(d)
    for message in messages:
        d.say(d.session.on(message))
    first = d.session.account().signed
    assert len(first.locks) == 1
    for message in messages:
        if isinstance(message, Delivery):
            doc = replace(envelope.read(message.receipt, Receipt).doc, hashlock=bytes(32))
            message = replace(message, receipt=d.desks["provider"].sign(doc).envelope)
        d.say(d.session.on(message))
    assert d.session.account().signed == first


def test_a_hashlock_is_good_for_one_picture(deal):
    d = deal(window=1000)
    first = delivered(d)
    for message in first:
        d.say(d.session.on(message))
    lock = d.session.account().signed.locks[0].hashlock
    d.leases.voucher(envelope.read(d.ups.pop().envelope, Voucher))  # and the key that it buys is lost on the way
    d.order()
    d.pump()
    d.work(d.queue.pop(0))
    for message in d.downs:
        if isinstance(message, Delivery):
            doc = replace(envelope.read(message.receipt, Receipt).doc, hashlock=lock)
            message = replace(message, receipt=d.desks["provider"].sign(doc).envelope)
        d.say(d.session.on(message))
    assert "used before" in d.told(ev.Cheated)[0].what


def test_a_wrong_key_changes_nothing(deal):
    d = deal()
    for message in delivered(d):
        d.say(d.session.on(message))
    [(job,)] = d.wallet_db.rows("SELECT id FROM jobs")
    refused(Fault.MALFORMED, d.session.on, KeyReveal(job, 0, bytes(32)))
    assert d.wallet_db.rows("SELECT length(key), length(png) FROM deliveries") == [(0, 0)]
    d.pump()
    assert jobs(d)[0][0] == "paid"


def test_a_key_for_an_unlocked_delivery_is_ignored(deal):
    d = deal(window=200)
    messages = delivered(d)
    [(job, key)] = d.shop_db.rows("SELECT job, key FROM deliveries")
    assert d.session.on(KeyReveal(job, 0, key)).events == []
    assert messages


def test_rubbish_fills_no_memory(deal):
    d = deal()
    job = accepted(d)
    d.pump()
    leaf = bytes(32)
    refused(Fault.UNKNOWN, d.session.on, Progress(bytes(16), 0, 2, 2, leaf))
    refused(Fault.MALFORMED, d.session.on, Progress(job, 0, 3, 2, leaf))
    refused(Fault.MALFORMED, d.session.on, Progress(job, 1, 0, 2, leaf))
    refused(Fault.UNKNOWN, d.session.on, Preview(bytes(16), 0, 1, b"png"))
    assert d.session.on(Chunk(bytes(16), 0, 0, b"x")).ups == []


def test_locks_stay_within_the_window(deal):
    """Two pictures of 128 under a window of 200: the second lock waits for the first key."""
    d = deal(window=200)
    d.order(count=2)
    d.pump()
    attempt = d.queue.pop(0)
    d.work(attempt)
    first, d.downs = d.downs, []
    for message in first:
        d.say(d.session.on(message))
    pay_first = d.ups.pop()
    d.leases.voucher(envelope.read(pay_first.envelope, Voucher))
    d.work(attempt, 1, begin=False)
    for message in [m for m in d.downs if not isinstance(m, KeyReveal)]:
        d.say(d.session.on(message))
    assert [x.amount for x in d.session.account().signed.locks] == [128]
    d.downs = []
    d.pump()
    assert jobs(d)[0][0] == "paid"
    assert d.session.account().spent == 256


def test_up_front_lines_stay_within_the_window(deal):
    """Every job's minimum is an up-front line of 172; under a window of 200 one waits for the other."""
    d = deal(minimum=300, window=200)
    d.order()
    d.order()
    d.pump()
    assert len(d.queue) == 1
    assert d.session.account().spent == 172
    d.work(d.queue.pop(0))
    d.pump()
    assert len(d.queue) == 1
    assert d.session.account().spent == 172 + 128 + 172


def test_a_job_that_ends_unpaid_keeps_its_place_in_the_window(deal):
    d = deal(minimum=300, window=200)
    first = d.order()
    d.pump()
    d.say(d.session.cancel(first))
    d.pump()
    assert jobs(d)[0][:2] == ("cancelled", 172)
    d.order()
    d.pump()
    assert len(d.queue) == 1, "no more money for a provider that has 172 for nothing"


def test_a_failed_job_gives_its_up_front_line_back(deal):
    d = deal(cold_load=50)
    d.order()
    d.pump()
    d.perform(d.attempts.end(d.queue.pop(), Outcome.FAILED, Reason(ReasonCode.WORKER_FAILED)))
    d.pump()
    assert jobs(d)[0][:2] == ("failed", 0)
    d.buy()
    assert d.session.account().spent == 178, "the credit has paid the second cold load"


def test_a_decline_and_an_end_are_told_with_their_reasons(deal):
    d = deal()
    job = d.order()
    [order] = d.ups
    header = envelope.read(order.envelope, JobHeader)
    provider = d.desks["provider"]
    reason = Reason(ReasonCode.QUEUE_FULL, 65, 64, "jobs")
    decline = provider.sign(Decline(provider.head(d.desks["client"].did, parent=header.id), (reason,)))
    [event] = d.session.on(Answer(job, decline.envelope)).events
    assert event == ev.JobDeclined(job, (reason,))
    assert jobs(d) == [("failed", 0, "queue full: 65 jobs asked, 64 possible")]
    head = provider.head(d.desks["client"].did, parent=header.id)
    late = provider.sign(JobEnded(head, d.lease, job, bytes(16), Outcome.FAILED, 0))
    assert d.session.on(Answer(job, late.envelope)).events == []


def test_a_new_session_goes_on_where_the_wallet_is(deal):
    d = deal(cold_load=50)
    for message in delivered(d):
        d.say(d.session.on(message))
    d.ups.clear()
    d.session = Session(d.desks["client"], d.wallet, d.lease)
    turn = d.session.resume()
    assert kinds(turn.ups) == ["voucher", "job"]
    d.say(turn)
    d.pump()
    assert jobs(d)[0][0] == "paid"
    assert len(d.told(ev.PictureOpened)) == 1


def test_bodies_are_never_sent_in_the_clear(deal):
    d = deal()
    accepted(d)
    bodies = [up for up in d.session.on(d.downs[-1]).ups if isinstance(up, Body)]
    assert bodies
    assert b"a cat" not in bodies[0].sealed


# --- the end ---------------------------------------------------------------------------------------------------------


def test_keys_that_only_the_ledger_shows(deal):
    d = deal()
    for message in delivered(d):
        d.say(d.session.on(message))
    d.leases.voucher(envelope.read(d.ups.pop().envelope, Voucher))
    d.say(d.session.finish())
    while d.ups:
        d.up(d.ups.pop(0))
    d.collect()
    turn = d.session.on_hold_state(d.hold_state())
    assert [type(e) for e in turn.events] == [ev.PictureOpened]
    assert d.wallet_db.rows("SELECT state, captured, released FROM leases") == [("settled", 128, 5000 - 128)]


@pytest.mark.parametrize(
    "lie",
    [
        {"captured": 129, "released": 0, "closed": False},
        {"captured": 5000, "released": 0, "closed": True},
        {"captured": 128, "released": 0, "closed": True},
        {"captured": 128, "released": 4873, "closed": True},
        {"amount": 4999},
    ],
)
def test_a_ledger_that_says_what_cannot_be_is_a_cheat(deal, lie):
    d = deal()
    d.buy()
    d.leases.close(d.lease, "done", Outcome.CANCELLED)
    d.collect()
    turn = d.session.on_hold_state(d.hold_state(**lie))
    assert [type(e) for e in turn.events] == [ev.Cheated]
    assert d.wallet_db.rows("SELECT distrust != '' FROM leases") == [(1,)]


def test_an_older_answer_of_the_ledger_takes_nothing_back(deal):
    d = deal()
    d.buy()
    before = d.hold_state()
    d.leases.close(d.lease, "done", Outcome.CANCELLED)
    d.collect()
    d.session.on_hold_state(d.hold_state())
    d.session.on_hold_state(before)
    assert d.wallet_db.rows("SELECT state, captured FROM leases") == [("settled", 128)]


def test_a_stranger_says_nothing_about_our_hold(deal):
    d = deal()
    state = d.hold_state()
    forged = envelope.sign(replace(state.doc, head=replace(state.doc.head, issuer=STRANGER.did)), STRANGER)
    refused(Fault.BAD_SIGNATURE, d.session.on_hold_state, forged)


def test_up_front_lines_beyond_the_window_wait_and_nobody_is_stuck(deal):
    """Three jobs at once, room for one prepayment: each is prepaid when the one before has brought its picture."""
    d = deal(minimum=300, window=200)
    for _ in range(3):
        d.order()
    d.pump()
    for number in range(3):
        assert len(d.queue) == 1, "one is prepaid"
        undelivered = d.session.account().prepaid - 172 * number
        assert undelivered == 172
        d.work(d.queue.pop(0))
        d.pump()
    assert d.wallet_db.rows("SELECT state FROM jobs") == [("paid",)] * 3
