"""The buyer's core, message by message: what it orders, what it believes, what it keeps."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from session_steps import STRANGER, accepted, delivered, jobs, kinds, refused, signed_by_provider

from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.protocol import envelope, limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import (
    Answer,
    Body,
    Closing,
    Decline,
    JobAcceptance,
    JobEnded,
    JobHeader,
    Outcome,
    Reason,
    ReasonCode,
    Voucher,
)


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
    [(answer,)] = d.wallet_db.rows("SELECT document FROM evidence")
    assert envelope.from_bytes(answer, JobAcceptance).doc.total == total


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


@pytest.mark.parametrize("kind", ["acceptance", "decline", "end"])
def test_no_answer_is_from_the_future_and_an_old_one_may_be_said_again(deal, kind):
    d = deal()
    job = d.order()
    provider, header = d.desks["provider"], envelope.read(d.ups[0].envelope, JobHeader)
    d.up(d.ups.pop(0))
    head = provider.head(d.desks["client"].did, parent=header.id)
    doc = {
        "acceptance": envelope.read(d.downs[-1].envelope, JobAcceptance).doc,
        "decline": Decline(head, (Reason(ReasonCode.QUEUE_FULL, 65, 64, "jobs"),)),
        "end": JobEnded(head, d.lease, job, bytes(16), Outcome.FAILED, 0),
    }[kind]
    late = replace(doc, head=replace(doc.head, issued_at_ms=d.clock.ms + limits.SKEW_MS + 1))
    refused(Fault.FROM_THE_FUTURE, d.session.on, Answer(job, provider.sign(late).envelope))
    assert jobs(d) == [("placed", 0, "")]
    d.clock.ms += limits.HOUR
    assert d.session.on(Answer(job, provider.sign(doc).envelope)).events


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
