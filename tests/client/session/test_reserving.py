"""Workers that are held: ordered within window and cap, paid once they are promised, and what comes back is ours."""

from dataclasses import replace

import pytest
from pair import Deal
from scenario import advert

from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.protocol import envelope, limits
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.messages import (
    Answer,
    BidClass,
    Decline,
    Order,
    Reason,
    ReasonCode,
    Reserve,
    Reserved,
    ReserveEnded,
    Voucher,
)

RATE = 7
TEN = 10 * limits.SECOND


def opened(*, bid_class=BidClass.RESERVED, **terms):
    """A lease under which workers can be held."""
    d = Deal(**terms)
    d.record, d.offer = advert(replace(d.sheet, per_reserved_second=RATE), d.terms.window)
    d.terms = replace(d.terms, bid_class=bid_class)
    return d.agree().fund().open()


def ordered(d, lasts_ms=TEN):
    """An order on its way to the provider."""
    d.ups.clear()
    d.say(d.session.reserve(lasts_ms))
    [order] = d.ups
    d.ups.clear()
    return envelope.read(order.envelope, Reserve)


def answer(d, order, kind, *fields, **changes):
    """The provider's signed answer to an order."""
    head = d.desks["provider"].head(d.desks["client"].did, parent=order.id)
    doc = kind(head, d.lease, *fields) if kind is not Decline else kind(head, *fields)
    return Answer(order.doc.head.id, d.desks["provider"].sign(replace(doc, **changes)).envelope)


def held(d, order, **changes):
    now = d.clock.ms
    return answer(d, order, Reserved, now, now + TEN, 10 * RATE, **changes)


def hear(d, message):
    turn = d.session.on(message)
    d.say(turn)
    return turn


def vouchers(turn):
    return [envelope.read(up.envelope, Voucher).doc.unlocked for up in turn.ups if isinstance(up, Order)]


def test_what_is_promised_is_paid_at_once_and_once():
    d = opened()
    order = ordered(d)
    assert d.told(ev.ReserveOrdered) == [ev.ReserveOrdered(order.doc.head.id, 70)]
    assert (d.session.account().committed, d.session.account().spent) == (70, 0)
    promise = held(d, order)
    turn = hear(d, promise)
    assert vouchers(turn) == [70]
    [told] = d.told(ev.WorkerReserved)
    assert (told.until_ms - told.from_ms, told.amount) == (TEN, 70)
    assert vouchers(hear(d, promise)) == []
    assert (d.session.account().committed, d.session.account().spent) == (70, 70)


def test_a_job_is_paid_beside_it():
    d = opened()
    hear(d, held(d, ordered(d)))
    d.buy()
    assert d.session.account().spent == 70 + 128


@pytest.mark.parametrize("changes", [{"amount": 71}, {"amount": 69}, {"until_ms": 10**12}])
def test_another_bargain_than_was_ordered_is_not_paid(changes):
    d = opened()
    turn = hear(d, held(d, ordered(d), **changes))
    assert [type(event) for event in turn.events] == [ev.Cheated]
    assert (turn.ups, d.session.account().committed) == ([], 0)
    assert d.wallet_db.rows("SELECT count(*) FROM evidence") == [(1,)]


def test_a_decline_costs_nothing_and_tells_why():
    d = opened()
    order, reason = ordered(d), Reason(ReasonCode.RESERVED, 2, 1, "workers held")
    hear(d, answer(d, order, Decline, (reason,)))
    assert d.told(ev.ReserveDeclined) == [ev.ReserveDeclined(order.doc.head.id, (reason,))]
    assert d.session.account().committed == 0
    assert vouchers(hear(d, held(d, order))) == [], "it has said no"


def test_seconds_that_come_back_pay_what_is_due_next():
    d = opened(minimum=150)
    order = ordered(d)
    hear(d, held(d, order))
    hear(d, answer(d, order, ReserveEnded, d.clock.ms, 40, (Reason(ReasonCode.RECLAIMED),)))
    assert d.told(ev.ReservationEnded)[0].credit == 40
    account = d.session.account()
    assert (account.spent, account.upfront, account.spare) == (70, 30, 40)
    hear(d, answer(d, order, ReserveEnded, d.clock.ms, 30))
    assert d.session.account().upfront == 30, "it ends once"


def test_more_than_was_paid_does_not_come_back():
    d = opened()
    order = ordered(d)
    hear(d, held(d, order))
    hear(d, answer(d, order, ReserveEnded, d.clock.ms, 5_000))
    assert d.session.account().upfront == 0


def test_what_was_not_paid_in_time_was_never_charged():
    d = opened()
    order = ordered(d)
    hear(d, held(d, order))
    hear(d, answer(d, order, ReserveEnded, d.clock.ms, 0, (Reason(ReasonCode.UNPAID, 10_001, 10_000, "ms unpaid"),)))
    assert d.session.account().upfront == 0


def test_no_more_is_at_risk_than_the_window():
    d = opened(window=100)
    hear(d, held(d, ordered(d)))
    with pytest.raises(LocalError, match="window") as refusal:
        d.session.reserve(5 * limits.SECOND)
    assert refusal.value.fault is Fault.INSUFFICIENT_FUNDS
    d.clock.ms += 6 * limits.SECOND
    d.session.reserve(5 * limits.SECOND)


def test_the_cap_bounds_it_and_the_class_allows_it():
    with pytest.raises(LocalError, match="60 left"):
        opened(cap=60).session.reserve(TEN)
    with pytest.raises(LocalError, match="class"):
        opened(bid_class=BidClass.ON_DEMAND).session.reserve(TEN)


def test_a_new_stream_orders_again_what_has_no_answer_or_may_have_ended():
    d = opened()
    first = ordered(d)
    again = Session(d.desks["client"], d.wallet, d.lease)

    def orders():
        ups = again.resume().ups
        return [up.envelope for up in ups if isinstance(up, Order) and up.envelope.payload_type == Reserve.TYPE]

    assert orders() == [first.envelope], "the same bytes"
    hear(d, held(d, first))
    assert orders() == [first.envelope]
    d.clock.ms += TEN
    assert orders() == []


def test_answers_of_others_are_refused():
    d = opened()
    order = ordered(d)
    wrong = held(d, order, head=replace(envelope.read(held(d, order).envelope, Reserved).doc.head, parent=bytes(32)))
    with pytest.raises(PeerError) as refusal:
        d.session.on(wrong)
    assert refusal.value.fault is Fault.BAD_SIGNATURE
    job = d.order()
    with pytest.raises(PeerError):
        d.session.on(replace(held(d, order), job=job))
