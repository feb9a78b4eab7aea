"""A picture that two jobs draw is signed for once, whatever is delivered; and not at all for a job that is off."""

from dataclasses import replace

import pytest

from gpufair.client.session import events as ev
from gpufair.client.wallet.batches import BatchLeaseRow, BatchRow, ItemRow, TryRow

BATCH = b"B" * 16


def tried(d, *jobs, **changes):
    """All these jobs are for the same picture of a batch."""
    with d.wallet.begin() as rows:
        rows.insert(BatchRow(BATCH, "foxes", 500, "{}", b"", b"", "foxes", 1))
        rows.insert(ItemRow(BATCH, 0, "fox.png", "{}", b"", b"", "[]"))
        for job in jobs:
            rows.insert(replace(TryRow(d.lease, job, BATCH, 0, False, False), **changes))


def deliver_all(d):
    while d.queue:
        d.work(d.queue.pop(0))
        d.pump()


def test_of_two_jobs_for_one_picture_the_first_that_is_whole_is_bought(deal):
    d = deal()
    first, second = d.order(), d.order()
    tried(d, first, second)
    d.pump()
    d.queue.reverse()
    deliver_all(d)
    assert [event.job for event in d.told(ev.PictureOpened)] == [second]
    assert d.wallet_db.rows("SELECT job, locked FROM deliveries ORDER BY locked") == [(first, 0), (second, 1)]
    assert d.session.account().spent == 128


def test_where_the_key_never_came_the_other_one_may_be_bought(deal):
    d = deal(window=400)
    first, second = d.order(), d.order()
    tried(d, first, second)
    d.pump()
    with d.wallet.begin() as rows:
        rows.change(TryRow, {"job": first}, doubtful=True)
    deliver_all(d)
    assert [event.job for event in d.told(ev.PictureOpened)] == [first, second]


@pytest.mark.parametrize("gone", ["the try", "the lease"])
def test_what_is_given_up_gets_no_signature(deal, gone):
    d = deal(minimum=200)
    job = d.order()
    tried(d, job, off=gone == "the try")
    if gone == "the lease":
        with d.wallet.begin() as rows:
            rows.insert(BatchLeaseRow(d.lease, BATCH, True))
    d.pump()
    assert d.session.account().spent == 0, "nor is anything paid before work"
    assert not d.queue
