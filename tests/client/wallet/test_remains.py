"""What is left of a job: pictures that came are not ordered again, begun ones go on from their checkpoints."""

from dataclasses import replace

import pytest
from pieces import Painter, hear

from gpufair.client.wallet import purchases, remains, sequels
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import InputKind, Outcome

STEP = 64


@pytest.fixture
def begun(deal):
    """A job of three pictures of four steps: the first is here, of the second the state after two steps."""
    d = deal(window=4 * STEP)
    job = d.order(steps=4, count=3)
    first = Painter.of(d, job)
    hear(d, *first.deliver(4), *first.reveal())
    second = replace(first, picture=1, look=1, sold=0, keys={})
    hear(d, *second.deliver(2), *second.reveal(2), *second.progress(3, 3))
    return second


def left(painter, **options):
    return remains.of(painter.d.wallet, painter.d.lease, painter.job, **options)


def go_on(painter, rest):
    """Order a rest; under the same lease, which to the wallet is a lease like any other."""
    d = painter.d
    d.attempts.end(painter.attempt, Outcome.FAILED)
    turn = d.session.place(rest.spec, rest.body, deadline_ms=60_000, before=rest.before)
    d.say(turn)
    return turn.events[0].job


def test_one_goes_on_from_its_checkpoint_and_the_others_begin_anew(begun):
    going, fresh = left(begun)
    assert (going.before.first, going.spec.done, going.spec.steps, going.spec.count) == (1, 2, 4, 1)
    assert [(one.kind, one.data) for one in going.body.inputs] == [(InputKind.STATE, begun.state(2))]
    assert going.body.seed == 8, "the job's seed is 7"
    assert going.profile == bytes(32)
    assert len(going.before.checkpoint) == 32
    assert (fresh.before.first, fresh.spec.done, fresh.spec.count, fresh.body.seed) == (2, 0, 1, 9)
    assert (fresh.before.checkpoint, fresh.body.inputs, fresh.profile) == (b"", (), b"")


def test_pictures_in_a_row_are_one_job(deal):
    d = deal(window=300)
    painter = Painter.of(d, d.order(steps=2, count=4))
    hear(d, *painter.deliver(2), *painter.reveal())
    [rest] = left(painter)
    assert (rest.before.first, rest.spec.count, rest.body.seed) == (1, 3, 8)


def test_what_is_signed_for_is_not_left_unless_its_key_is_given_up(deal):
    d = deal(window=300)
    painter = Painter.of(d, d.order(steps=2))
    hear(d, *painter.deliver(2))
    assert left(painter) == ()
    [rest] = left(painter, doubtful=True)
    assert rest.spec.count == 1
    hear(d, *painter.reveal())
    assert left(painter, doubtful=True) == ()


def test_noise_is_no_picture(deal):
    d = deal(window=300)
    painter = Painter.of(d, d.order(steps=2))
    hear(d, *painter.deliver(2, plain_sha256=bytes(32)), *painter.reveal())
    assert len(left(painter)) == 1


def test_a_rest_that_was_ordered_is_left_no_more_until_it_too_stops(begun, monkeypatch):
    monkeypatch.setattr("gpufair.provider.jobs.objections._of_its_terms", lambda *_: [])
    d = begun.d
    job = go_on(begun, left(begun)[0])
    again, fresh = left(begun)
    assert (fresh.before.first, fresh.spec.count) == (2, 1)
    assert (again.before.job, again.before.first, again.spec.done) == (job, 0, 2), "who asks has given it up"
    third = Painter.of(d, job, 1)
    hear(d, *third.deliver(3), *third.reveal(3))
    again = next(rest for rest in left(begun) if rest.before.job == job)
    assert (again.before.first, again.spec.done, again.body.seed) == (0, 3, 8)
    assert [one.data for one in again.body.inputs] == [third.state(3)], "one state, not both"
    with d.wallet.read() as rows:
        assert sequels.offset(rows, again.before) == 1
        assert sequels.origin(rows, d.lease, job) == (d.lease, begun.job)


def test_a_piece_of_work_is_one_purchase_wherever_it_was_done(begun, monkeypatch):
    monkeypatch.setattr("gpufair.provider.jobs.objections._of_its_terms", lambda *_: [])
    d = begun.d
    going, fresh = left(begun)
    second = Painter.of(d, go_on(begun, going), 1)
    hear(d, *second.deliver(4), *second.reveal())
    turn = d.session.place(fresh.spec, fresh.body, deadline_ms=60_000, before=fresh.before)
    d.say(turn)
    third = Painter.of(d, turn.events[0].job, 2)
    whole = purchases.by_id(d.wallet, d.lease, begun.job)
    assert (whole.state, whole.is_over, whole.is_whole) == ("placed", False, False)
    hear(d, *third.deliver(4), *third.reveal())
    assert left(begun) == ()
    whole = purchases.find(d.wallet, begun.job.hex())
    assert [one.index for one in whole.opened] == [0, 1, 2]
    assert (whole.state, whole.is_over, whole.spent) == ("paid", True, 3 * 4 * STEP)
    assert [(one.index, one.step) for one in whole.checkpoints] == [(1, 2)]
    assert [one.amount for one in whole.pictures] == [4 * STEP, 2 * STEP, 4 * STEP]
    assert [purchases.png(d.wallet, one) for one in whole.opened] == [
        b"\x89PNG" + painter.job for painter in (begun, second, third)
    ]
    assert [one.job.id for one in purchases.history(d.wallet, 9)] == [begun.job], "the rest are parts of it"
    assert purchases.find(d.wallet, third.job.hex()).job.id == begun.job


def test_nothing_is_left_of_what_is_not_there(deal):
    d = deal()
    with pytest.raises(LocalError):
        remains.of(d.wallet, d.lease, bytes(16))


def test_what_is_left_is_ordered_once_whoever_takes_it_up(begun):
    going, fresh = left(begun)
    go_on(begun, going)
    with pytest.raises(LocalError, match="already"):
        go_on(begun, going)
    go_on(begun, fresh)
