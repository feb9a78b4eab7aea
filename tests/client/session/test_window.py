"""What the buyer has at stake stays within the window: locks on one side, up-front lines on the other."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from session_steps import jobs

from gpufair.protocol import envelope
from gpufair.protocol.messages import (
    KeyReveal,
    Outcome,
    Reason,
    ReasonCode,
    Voucher,
)


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
