"""Orders that no ledger may take: a typed refusal, and nothing changed."""

import dataclasses

import pytest

from gpufair.protocol import envelope, limits, wire
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.messages import (
    Bid,
    Capture,
    Envelope,
    Issue,
    Pay,
    Posted,
    ReasonCode,
    Signature,
)

MINUTE = 60_000


def resigned(world, **changes):
    doc = world.sign("alice", Pay, world.carol.did, 5, "").doc
    return world.alice.sign(dataclasses.replace(doc, head=dataclasses.replace(doc.head, **changes))).envelope


def unsigned(world):
    order = world.sign("alice", Pay, world.carol.did, 5, "").envelope
    return dataclasses.replace(order, signatures=(Signature(world.alice.did, bytes(64)),))


def signed_by_another(world):
    order = world.sign("alice", Pay, world.carol.did, 5, "")
    return dataclasses.replace(order.envelope, signatures=(world.bob.sign(Pay(
        world.bob.head(world.bank.did), world.carol.did, 5, "")).envelope.signatures[0],))  # fmt: skip


def in_anothers_name(world):
    order = world.sign("alice", Pay, world.carol.did, 5, "").envelope
    encoding = envelope.pre_authentication_encoding(order.payload_type, order.payload)
    return dataclasses.replace(order, signatures=(Signature(world.alice.did, world.bob.signer.sign(encoding)),))


def relabelled(world):
    """An issue signed by the bank, shown under the type of another order."""
    order = world.sign("bank", Issue, world.alice.did, 5, "x").envelope
    return dataclasses.replace(order, payload_type=Pay.TYPE)


def padded(world):
    """Unknown fields are legal protobuf; a ledger that kept them for ever could be filled with them."""
    order = world.sign("alice", Pay, world.carol.did, 5, "").envelope
    return dataclasses.replace(order, payload=order.payload + b"\xfa\x3f\x80\x80\x02" + bytes(32 * 1024))


BAD = {
    "wrong audience": (lambda w: resigned(w, audience=(w.bob.did,)), Fault.WRONG_AUDIENCE),
    "everybody's audience": (lambda w: resigned(w, audience=("*",)), Fault.WRONG_AUDIENCE),
    "two audiences": (lambda w: resigned(w, audience=(w.bank.did, w.bob.did)), Fault.WRONG_AUDIENCE),
    "expired": (lambda w: resigned(w, issued_at_ms=w.clock.ms - 8 * MINUTE, expires_at_ms=w.clock.ms - 3 * MINUTE),
                Fault.EXPIRED),
    "from the future": (lambda w: resigned(w, issued_at_ms=w.clock.ms + 3 * MINUTE,
                                           expires_at_ms=w.clock.ms + 4 * MINUTE), Fault.FROM_THE_FUTURE),
    "lives too long": (lambda w: resigned(w, expires_at_ms=w.clock.ms + 6 * MINUTE), Fault.MALFORMED),
    "unsigned": (unsigned, Fault.BAD_SIGNATURE),
    "signed by another": (signed_by_another, Fault.BAD_SIGNATURE),
    "in another's name": (in_anothers_name, Fault.BAD_SIGNATURE),
    "relabelled": (relabelled, Fault.BAD_SIGNATURE),
    "padded": (padded, Fault.TOO_LARGE),
    "no protobuf": (lambda w: dataclasses.replace(unsigned(w), payload=b"\xff\xff\xff"), Fault.MALFORMED),
    "another type": (lambda w: dataclasses.replace(unsigned(w), payload_type=Bid.TYPE), Fault.WRONG_TYPE),
    "no hold for the lease": (lambda w: w.capture_order("bob", "nowhere", 5).envelope, Fault.UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize(("make", "fault"), BAD.values(), ids=BAD.keys())
def test_a_bad_document_is_refused_and_changes_nothing(funded, make, fault):
    bad, state = make(funded), funded.state()
    with pytest.raises(PeerError) as caught:
        funded.ledger.submit(bad)
    assert caught.value.fault is fault
    good = funded.sign("alice", Pay, funded.carol.did, 1, "").envelope
    [refusal, done] = funded.ledger.submit_many([bad, good])
    assert isinstance(refusal, PeerError)
    assert done.payload_type == Posted.TYPE, "its neighbours in the transaction don't suffer"
    assert len(funded.state()["events"]) == len(state["events"]) + 1


@pytest.mark.parametrize("bit", range(0, 8 * 180, 37))
def test_a_flipped_bit_is_refused(funded, bit):
    order = funded.sign("alice", Pay, funded.carol.did, 5, "").envelope
    payload = bytearray(order.payload)
    payload[bit // 8 % len(payload)] ^= 1 << bit % 8
    state = funded.state()
    with pytest.raises(PeerError):
        funded.ledger.submit(dataclasses.replace(order, payload=bytes(payload)))
    assert funded.state() == state


REFUSALS = {
    "spending what one lacks": (lambda w: w.pay("carol", "bob", 1), ReasonCode.FUNDS_SHORT),
    "holding what is held": (lambda w: w.hold("alice", "bob", "M", 701), ReasonCode.FUNDS_SHORT),
    "a second hold for a lease": (lambda w: w.hold("alice", "bob", "L", 1), ReasonCode.HOLD_EXISTS),
    "issuing by anyone": (lambda w: w.give(w.sign("alice", Issue, w.alice.did, 5, "x")), ReasonCode.NOT_ENTITLED),
    "capturing another's hold": (lambda w: w.capture("carol", "L", 5), ReasonCode.NOT_ENTITLED),
    "releasing by the payer": (lambda w: w.capture("alice", "L", final=True), ReasonCode.NOT_ENTITLED),
    "a voucher of one's own": (lambda w: w.capture("bob", "L", 5, payer="bob"), ReasonCode.VOUCHER_WRONG),
    "the same lock twice": (lambda w: w.capture("bob", "L", 5, [("a", 5), ("a", 6)]), ReasonCode.VOUCHER_WRONG),
    "a key for no lock": (lambda w: w.capture("bob", "L", 5, [("a", 5)], ["b"]), ReasonCode.VOUCHER_WRONG),
    "a hold without end": (lambda w: w.hold("alice", "bob", "M", 1, lasts=limits.HOLD_MAX_MS + 1),
                           ReasonCode.EXPIRY_TOO_LATE),
}  # fmt: skip


@pytest.mark.parametrize(("order", "code"), REFUSALS.values(), ids=REFUSALS.keys())
def test_the_book_refuses_with_a_reason_and_changes_nothing(funded, order, code, tools):
    state = funded.state()
    tools.refused(order(funded), code)
    assert funded.state() == state


def test_a_lowered_voucher_takes_nothing_back(funded):
    funded.capture("bob", "L", 200)
    lowered = funded.capture("bob", "L", 50)
    assert (lowered.paid, lowered.captured) == (0, 200)


def test_a_voucher_over_the_cap_pays_the_cap(funded):
    assert funded.capture("bob", "L", 5000).paid == 300
    assert funded.balance("alice") == (700, 0, 0)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_key_of_any_other_length_never_gets_in(funded, length):
    order = funded.capture_order("bob", "L", 5, [("a", 5)], ["a"])
    with pytest.raises(LocalError):
        funded.bob.sign(dataclasses.replace(order.doc, keys=(bytes(length),)))
    odd = wire.to_generated(order.doc)
    odd.keys[0] = bytes(length)
    payload = odd.SerializeToString()
    encoding = envelope.pre_authentication_encoding(Capture.TYPE, payload)
    signature = Signature(funded.bob.did, funded.bob.signer.sign(encoding))
    with pytest.raises(PeerError) as caught:
        funded.ledger.submit(Envelope(payload, Capture.TYPE, (signature,)))
    assert caught.value.fault is Fault.MALFORMED
