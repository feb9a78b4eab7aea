"""What the ledger says of a hold: keys that only it shows, and answers that can't be."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from session_steps import STRANGER, delivered, refused

from gpufair.client.session import events as ev
from gpufair.protocol import envelope
from gpufair.protocol.errors import Fault
from gpufair.protocol.messages import (
    HoldState,
    Outcome,
    Voucher,
)


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
    d.clock.ms += 1
    d.session.on_hold_state(d.hold_state(**lie))
    [(job, word)] = d.wallet_db.rows("SELECT job, document FROM evidence")
    assert job == b"", "it is the ledger's, and kept once"
    assert envelope.authenticate(envelope.from_bytes(word, HoldState)).issuer == d.desks["ledger"].did


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
