"""Pictures in pieces: each step is paid once, each checkpoint is a state of the trace, and with it one can go on."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pieces import Painter, hear
from session_steps import jobs, kinds, refused

from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.client.wallet import accusations, purchases
from gpufair.client.wallet.deliveries import DeliveryRow
from gpufair.client.wallet.sequels import Before
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.evidence import Proof, judge
from gpufair.protocol.messages import Crime, Goods, Input, InputKind, JobBody, Outcome, Progress, Spec

STEP = 64
"""What a step costs in these tests; the window of 150 has room for two."""


@pytest.fixture
def painter(deal):
    """A picture of four steps in two pieces, ordered and accepted."""
    d = deal(window=150)
    return Painter.of(d, d.order(steps=4))


def deliveries(d):
    return d.wallet_db.rows("SELECT step, amount, locked, length(key) > 0, length(plain) FROM deliveries ORDER BY 1")


def test_a_picture_in_two_pieces_costs_what_the_quote_says(painter):
    d = painter.d
    hear(d, *painter.deliver(2))
    assert [lock.amount for lock in d.session.account().signed.locks] == [2 * STEP]
    hear(d, *painter.reveal(2), *painter.deliver(4), *painter.reveal())
    assert [type(e) for e in d.events if not isinstance(e, ev.StepDone)][2:] == [
        ev.CheckpointLocked, ev.CheckpointOpened, ev.PictureLocked, ev.PictureOpened,
    ]  # fmt: skip
    assert jobs(d) == [("paid", 0, "")]
    assert d.session.account().spent == 4 * STEP
    assert deliveries(d) == [(0, 128, 1, 1, 20), (2, 128, 1, 1, 64)]
    with d.wallet.read() as rows:
        assert rows.get(DeliveryRow, step=2).plain == painter.state(2)


def test_nothing_more_is_signed_while_the_first_key_is_missing(painter):
    d = painter.d
    hear(d, *painter.deliver(2), *painter.deliver(4))
    assert [lock.amount for lock in d.session.account().signed.locks] == [2 * STEP]
    hear(d, *painter.reveal(2))
    assert [lock.amount for lock in d.session.account().signed.locks] == [2 * STEP]
    assert d.session.account().promise.unlocked == 2 * STEP


LIES = {
    "steps that were sold": {"first_step": 1},
    "no end": {"last_step": 4},
    "dearer": {"increment": STEP + 1},
    "cheaper": {"increment": STEP - 1},
    "a picture": {"goods": Goods.PICTURE},
    "another trace": {"trace_root": bytes(32)},
    "another attempt": {"attempt": bytes(16)},
}


@pytest.mark.parametrize("name", LIES)
def test_a_piece_that_is_not_the_next_one_is_not_signed_for(painter, name):
    d = painter.d
    hear(d, *painter.deliver(2), *painter.reveal(2))
    if name in ("a picture", "no end"):
        messages = painter.deliver(3, **LIES[name])
        step = 0 if name == "a picture" else 4
        messages = [replace(m, step=step) if hasattr(m, "receipt") or hasattr(m, "offset") else m for m in messages]
    else:
        messages = painter.deliver(3, **LIES[name])
    if name == "no end":
        refused(Fault.MALFORMED, hear, d, *messages)
    else:
        hear(d, *messages)
        assert len(d.told(ev.Cheated)) == 1
        assert d.wallet_db.rows("SELECT count(*) FROM evidence") == [(1,)]
    assert d.session.account().spent == 2 * STEP


def test_a_piece_dearer_than_the_window_is_not_signed_for(painter):
    hear(painter.d, *painter.deliver(3))
    assert "at once" in painter.d.told(ev.Cheated)[0].what
    assert painter.d.session.account().spent == 0


@pytest.mark.parametrize("plain", [b"\x07" * 64, b"\x07" * 63], ids=["another", "no state"])
def test_a_checkpoint_that_is_not_the_state_of_its_leaf_convicts(painter, plain):
    d = painter.d
    hear(d, *painter.deliver(2, plain=plain))
    assert not d.told(ev.Cheated), "only the key shows it"
    hear(d, *painter.reveal(2), *painter.deliver(4))
    assert "not the state" in d.told(ev.Cheated)[0].what
    assert d.wallet_db.rows("SELECT count(*) FROM bans") == [(1,)]
    assert jobs(d)[0][0] == "failed"
    assert d.session.account().spent == 2 * STEP, "and no more than that one"
    [row] = deliveries(d)
    assert row == (2, 128, 1, 1, 0)
    bought = purchases.by_id(d.wallet, d.lease, painter.job)
    assert len(bought.proofs) == 1
    with d.wallet.read() as rows:
        [piece] = accusations.due(rows, d.desks["client"])
    assert (piece.doc.crime, judge(piece.doc).proof) == (Crime.FALSE_LEAF, Proof.PROVED), "anybody can see it"


def test_a_lost_piece_is_asked_for_again(painter):
    d = painter.d
    lost = painter.deliver(2)
    hear(d, *painter.progress(0, 2))
    asked = [up for message in painter.deliver(4) for up in d.session.on(message).ups]
    assert kinds(asked) == ["job"]
    assert d.session.account().spent == 0
    hear(d, *lost, *painter.reveal(2))
    assert d.told(ev.CheckpointOpened) == [ev.CheckpointOpened(painter.job, 0, 2)]


def test_who_tells_other_leaves_after_a_checkpoint_is_found_out(painter):
    d = painter.d
    hear(d, *painter.deliver(2), *painter.reveal(2))
    d.session = Session(d.desks["client"], d.wallet, d.lease)
    painter.leaf = lambda step: bytes([step]) * 32  # type: ignore[method-assign]
    hear(d, *painter.progress(0, 2), *painter.deliver(4))
    assert "streamed leaves" in d.told(ev.Cheated)[0].what


def test_a_client_that_was_restarted_goes_on_after_the_checkpoint(painter):
    d = painter.d
    hear(d, *painter.deliver(2), *painter.reveal(2))
    d.session = Session(d.desks["client"], d.wallet, d.lease)
    d.session.resume()
    hear(d, *painter.deliver(4), *painter.reveal())
    assert jobs(d) == [("paid", 0, "")]


@pytest.mark.parametrize("outcome", [Outcome.RECLAIMED, Outcome.PREEMPTED, Outcome.DRAINED])
def test_what_a_stopped_job_has_done_is_ours_and_paid(painter, outcome):
    d = painter.d
    hear(d, *painter.deliver(1), *painter.end(outcome))
    assert jobs(d) == [("stopped", 0, outcome.name.lower())]
    assert purchases.standing(d.wallet, d.lease, painter.job).waits_for_key
    hear(d, *painter.reveal(1))
    assert d.session.account().spent == STEP
    assert purchases.standing(d.wallet, d.lease, painter.job).is_over
    hear(d, Progress(painter.job, 0, 2, 4, painter.leaf(2)))
    assert jobs(d) == [("stopped", 0, outcome.name.lower())]


def test_a_key_that_was_lost_with_the_stream_is_asked_for_though_its_job_has_ended(painter):
    d = painter.d
    hear(d, *painter.deliver(1), *painter.end(Outcome.RECLAIMED))
    d.session = Session(d.desks["client"], d.wallet, d.lease)
    assert kinds(d.session.resume().ups) == ["voucher", "job"]
    hear(d, *painter.reveal(1))
    assert kinds(d.session.resume().ups) == ["voucher"]


def goes_on(d, painter, done, state, **changes):
    """Order what is left of the painter's picture under the same lease; under another one it is no different."""
    wanted = replace(painter.spec, done=done, **changes)
    body = JobBody(bytes(16), "a cat", "", 7, 1000, (Input(InputKind.STATE, state),))
    before = Before(d.lease, painter.job, 0, b"R" * 32)
    turn = d.session.place(wanted, body, deadline_ms=60_000, before=before)
    d.say(turn)
    return turn.events[0].job


def test_what_is_gone_on_without_gets_no_signature(painter):
    d = painter.d
    hear(d, *painter.deliver(2), *painter.reveal(2), *painter.progress(3, 4))
    goes_on(d, painter, 2, painter.state(2))
    assert jobs(d)[0][0] == "stopped"
    assert jobs(d)[0][2]
    hear(d, *painter.deliver(4))
    assert d.session.account().spent == 2 * STEP
    assert deliveries(d) == [(2, 128, 1, 1, 64)], "nor is it taken"


def test_a_job_that_goes_on_begins_with_the_state_that_it_was_given(painter, monkeypatch):
    d = painter.d
    hear(d, *painter.deliver(2), *painter.reveal(2))
    d.attempts.end(painter.attempt, Outcome.FAILED)
    monkeypatch.setattr("gpufair.provider.jobs.objections._of_its_terms", lambda *_: [])
    second = Painter.of(d, goes_on(d, painter, 2, painter.state(2)))
    assert second.header.doc.checkpoint == b"R" * 32
    hear(d, *second.deliver(4), *second.reveal())
    assert jobs(d)[1][0] == "paid"
    assert d.session.account().spent == 4 * STEP


def test_a_trace_that_begins_with_another_state_is_not_paid(painter, monkeypatch):
    d = painter.d
    hear(d, *painter.deliver(2), *painter.reveal(2))
    d.attempts.end(painter.attempt, Outcome.FAILED)
    monkeypatch.setattr("gpufair.provider.jobs.objections._of_its_terms", lambda *_: [])
    second = Painter.of(d, goes_on(d, painter, 2, b"\x01" * 64))
    hear(d, *second.deliver(4))
    assert "does not begin" in d.told(ev.Cheated)[0].what


def test_a_window_that_no_step_fits_is_told_before_anything_is_ordered(deal):
    d = deal(window=63)
    with pytest.raises(LocalError, match="window"):
        d.order(steps=4)
    assert jobs(d) == []


def test_steps_that_were_done_elsewhere_are_no_progress(painter):
    d = painter.d
    assert isinstance(painter.spec, Spec)
    refused(Fault.MALFORMED, d.session.on, Progress(painter.job, 0, 5, 4, bytes(32)))
