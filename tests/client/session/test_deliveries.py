"""What is signed for: a receipt that says what was ordered, one hashlock a picture, and a key that opens it."""

import random
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scenario import spec
from session_steps import accepted, delivered, jobs, kinds, refused

from gpufair.client.session import events as ev
from gpufair.client.session.checks import largest_cipher
from gpufair.protocol import envelope, limits, sealing
from gpufair.protocol.auditing import commitment
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import (
    Chunk,
    Delivery,
    JobHeader,
    KeyReveal,
    Preview,
    Progress,
    Receipt,
    Voucher,
)

LIES = {
    "another attempt": {"attempt": bytes(16)},
    "another lease": {"lease": bytes(32)},
    "other steps": {"last_step": 3},
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
    assert d.wallet_db.rows("SELECT count(*) FROM deliveries") == [(0,)]
    [(job, what, receipt, cipher)] = d.wallet_db.rows("SELECT job, what, document, cipher FROM evidence")
    told = d.told(ev.Cheated)[0]
    assert (job, what) == (told.job, told.what), "what we are told is in the wallet is there"
    assert envelope.authenticate(envelope.from_bytes(receipt, Receipt)).issuer == d.desks["provider"].did
    assert cipher == b"".join(message.data for message in messages if isinstance(message, Chunk))
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


def test_a_receipt_is_for_everyone_and_not_from_the_future(deal):
    d = deal()
    delivery = next(m for m in delivered(d) if isinstance(m, Delivery))
    doc = envelope.read(delivery.receipt, Receipt).doc
    for fault, change in (
        (Fault.WRONG_AUDIENCE, {"audience": (d.desks["client"].did,)}),
        (Fault.FROM_THE_FUTURE, {"issued_at_ms": d.clock.ms + limits.SKEW_MS + 1}),
    ):
        wrong = d.desks["provider"].sign(replace(doc, head=replace(doc.head, **change)))
        refused(fault, d.session.on, replace(delivery, receipt=wrong.envelope))


def test_no_more_is_taken_than_the_picture_that_was_ordered_can_have(deal):
    """8 x 8 pixels were ordered: 64 MiB of ciphertext for each would fill the memory."""
    d = deal()
    delivery = next(m for m in delivered(d) if isinstance(m, Delivery))
    doc = envelope.read(delivery.receipt, Receipt).doc
    most = largest_cipher(doc.spec)
    assert 8 * 8 * 4 < most < 128 * limits.KIB

    def claims(length):
        return replace(delivery, receipt=d.desks["provider"].sign(replace(doc, cipher_length=length)).envelope)

    refused(Fault.TOO_LARGE, d.session.on, claims(most + 1))
    assert d.session.on(claims(most)).events == []


def test_the_largest_picture_there_can_be_still_arrives():
    whole = replace(spec(1, 1), width=2048, height=2048)
    raw = random.Random(1).randbytes(2048 * (4 * 2048 + 1))
    assert len(zlib.compress(raw)) + sealing.CIPHER_OVERHEAD < largest_cipher(whole), "noise does not shrink"


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
    assert d.wallet_db.rows("SELECT count(*) FROM evidence") == [(1,)]


def test_a_wrong_key_changes_nothing(deal):
    d = deal()
    for message in delivered(d):
        d.say(d.session.on(message))
    [(job,)] = d.wallet_db.rows("SELECT id FROM jobs")
    refused(Fault.MALFORMED, d.session.on, KeyReveal(job, 0, bytes(32)))
    assert d.wallet_db.rows("SELECT length(key), length(plain) FROM deliveries") == [(0, 0)]
    d.pump()
    assert jobs(d)[0][0] == "paid"


def test_whose_key_opens_something_else_is_banned(deal):
    d = deal()
    for message in delivered(d):
        if isinstance(message, Delivery):
            doc = replace(envelope.read(message.receipt, Receipt).doc, plain_sha256=bytes(32))
            message = replace(message, receipt=d.desks["provider"].sign(doc).envelope)
        d.say(d.session.on(message))
    assert d.wallet_db.rows("SELECT count(*) FROM bans") == [(0,)]
    d.pump()
    assert "digest" in d.told(ev.Cheated)[0].what
    [(did, why)] = d.wallet_db.rows("SELECT did, why FROM bans")
    assert did == d.desks["provider"].did
    assert "another digest" in why


def test_every_job_commits_to_a_nonce_of_its_own(deal):
    d = deal(window=1000)
    for _ in range(3):
        d.order()
    headers = [from_bytes(data, JobHeader).doc for (data,) in d.wallet_db.rows("SELECT header FROM jobs")]
    nonces = dict(d.wallet_db.rows("SELECT job, nonce FROM nonces"))
    assert len(set(nonces.values())) == len(headers) == 3
    assert all(header.audit_commitment == commitment(nonces[header.job]) for header in headers)


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
