"""From an offer to a funded lease: only the provider's and the ledger's own answers to our own bytes count."""

from dataclasses import replace

import pytest

from gpufair.protocol import envelope, limits
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Bid, Decline, Hold, Reason, ReasonCode

STRANGER = KeySigner.from_seed(bytes([9]) * 32)
REASON = Reason(ReasonCode.PAUSED)


def state(d):
    return d.wallet_db.rows("SELECT state FROM leases ORDER BY rowid")[-1][0]


def refused(fault, act, *args):
    with pytest.raises(PeerError) as refusal:
        act(*args)
    assert refusal.value.fault is fault, refusal.value


def propose(d):
    return d.buying.propose(d.offer, d.record, d.sheet.model, d.offer.doc.worker_images[0].digest, d.terms)


def test_a_lease_is_our_own_bid_signed_by_the_provider(agreed):
    d = agreed()
    bid = propose(d)
    provider = d.desks["provider"].signer
    refused(Fault.BAD_SIGNATURE, d.buying.answered, bid.id, bid.envelope)
    refused(Fault.BAD_SIGNATURE, d.buying.answered, bid.id, envelope.countersign(bid, STRANGER).envelope)
    dearer = d.desks["client"].sign(replace(bid.doc, cap=bid.doc.cap + 1))
    refused(Fault.CONFLICT, d.buying.answered, bid.id, envelope.countersign(dearer, provider).envelope)
    assert state(d) == "proposed"
    assert d.buying.answered(bid.id, envelope.countersign(bid, provider).envelope) == ()
    assert state(d) == "agreed"


def test_only_the_provider_declines(agreed):
    d = agreed()
    bid = propose(d)
    provider = d.desks["provider"]
    strange = Decline(replace(provider.head(bid.issuer, parent=bid.id), issuer=STRANGER.did), (REASON,))
    refused(Fault.BAD_SIGNATURE, d.buying.answered, bid.id, envelope.sign(strange, STRANGER).envelope)
    other = provider.sign(Decline(provider.head(bid.issuer, parent=bytes(32)), (REASON,)))
    refused(Fault.BAD_SIGNATURE, d.buying.answered, bid.id, other.envelope)
    true = provider.sign(Decline(provider.head(bid.issuer, parent=bid.id), (REASON,)))
    assert d.buying.answered(bid.id, true.envelope) == (REASON,)
    assert state(d) == "declined"


def test_the_record_must_be_the_one_that_the_offer_names(agreed):
    d = agreed()
    d.record = d.desks["provider"].sign(replace(d.record.doc, software="another"))
    refused(Fault.CONFLICT, propose, d)


def test_nothing_is_bid_to_a_provider_to_whom_nothing_can_be_sealed(agreed):
    """Else its zero key would be found out when the job is placed, and the money lie in a hold by then."""
    d = agreed()
    useless = replace(d.record.doc, sealing_key=bytes(32))
    d.record = replace(d.record, doc=useless)
    refused(Fault.MALFORMED, propose, d)


@pytest.mark.parametrize("who", ["the lease's provider", "the lease's ledger"])
def test_a_refusal_is_for_us_and_not_from_the_future(agreed, who):
    d = agreed()
    if who == "the lease's provider":
        bid, signer, take, before = propose(d), d.desks["provider"], d.buying.answered, "proposed"
        lease, parent = bid.id, bid.id
    else:
        signer, take, before = d.desks["ledger"], d.buying.held, "agreed"
        lease, parent = d.lease, d.buying.order_hold(d.lease).id
    head = signer.head(d.desks["client"].did, parent=parent)
    for fault, changed in (
        (Fault.WRONG_AUDIENCE, {"audience": (STRANGER.did,)}),
        (Fault.FROM_THE_FUTURE, {"issued_at_ms": d.clock.ms + limits.SKEW_MS + 1}),
    ):
        refused(fault, take, lease, signer.sign(Decline(replace(head, **changed), (REASON,))).envelope)
        assert state(d) == before
    d.clock.ms += limits.HOUR
    assert take(lease, signer.sign(Decline(head, (REASON,))).envelope) == (REASON,), "a recorded answer stays good"


def test_the_hold_order_is_the_same_each_time(agreed):
    d = agreed()
    order = d.buying.order_hold(d.lease)
    d.clock.ms += 1000
    assert d.buying.order_hold(d.lease) == order
    assert (order.doc.amount, order.doc.payee) == (5000, d.desks["provider"].did)


@pytest.mark.parametrize(
    "change",
    [{"amount": 4999}, {"lease": bytes(32)}, {"payee": STRANGER.did}, {"payer": STRANGER.did},
     {"hold_expires_at_ms": 1_900_000_000_000}],
)  # fmt: skip
def test_a_hold_must_be_what_we_ordered(agreed, change):
    d = agreed()
    true = envelope.read(d.ledger.submit(d.buying.order_hold(d.lease).envelope), Hold)
    false = d.desks["ledger"].sign(replace(true.doc, **change))
    refused(Fault.CONFLICT, d.buying.held, d.lease, false.envelope)
    assert state(d) == "agreed"
    d.clock.ms += limits.HOUR  # the same recorded answer, asked for again
    assert d.buying.held(d.lease, true.envelope) == ()
    assert state(d) == "funded"


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        (Fault.WRONG_AUDIENCE, {"audience": (STRANGER.did,)}),
        (Fault.FROM_THE_FUTURE, {"issued_at_ms": 1_900_000_000_000}),
    ],
)
def test_a_hold_is_for_us_and_not_from_the_future(agreed, fault, change):
    d = agreed()
    true = envelope.read(d.ledger.submit(d.buying.order_hold(d.lease).envelope), Hold)
    false = d.desks["ledger"].sign(replace(true.doc, head=replace(true.doc.head, **change)))
    refused(fault, d.buying.held, d.lease, false.envelope)
    assert state(d) == "agreed"


def test_without_money_there_is_no_lease(agreed):
    d = agreed(cap=10**7)
    [reason] = d.buying.held(d.lease, d.ledger.submit(d.buying.order_hold(d.lease).envelope))
    assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.FUNDS_SHORT, 10**7, 10**6)
    assert state(d) == "abandoned"


def test_a_bid_is_on_disk_before_it_goes_out(agreed):
    d = agreed()
    bid = propose(d)
    [(stored,)] = d.wallet_db.rows("SELECT envelope FROM leases WHERE id = ?", bid.id)
    assert envelope.from_bytes(stored, Bid).id == bid.id
