"""What the session's tests say and hear: jobs ordered by hand, a provider's answers bent and signed again."""

from dataclasses import replace

import pytest

from gpufair.protocol import envelope
from gpufair.protocol.errors import PeerError
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Answer,
    Order,
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
