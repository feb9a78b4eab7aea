"""Rule: a document is what was signed, bit for bit, under its own type; anything else is a peer's fault."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufair.protocol import envelope, limits, wire
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Envelope, Head, Issue, Pay, Redeem, Signature, Voucher

ALICE, BOB, EVE = (KeySigner.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
NOW = 1_800_000_000_000
FIVE_MINUTES = limits.COMMAND_TTL_MS


def head(issuer=ALICE, audience=(BOB.did,), issued=NOW, expires=NOW + FIVE_MINUTES, number=bytes(16)):
    return Head(issuer.did, audience, number, issued, expires)


def a_pay(**fields):
    return envelope.sign(Pay(head(**fields), BOB.did, 5, "for bread"), ALICE)


def receive(signed, kind=Pay, me=BOB.did, now=NOW):
    return envelope.receive(signed, kind, me=me, now_ms=now, lifetime_max_ms=FIVE_MINUTES)


def fault_of(document, **options):
    with pytest.raises(PeerError) as caught:
        receive(document, **options)
    return caught.value.fault


def test_the_encoding_is_that_of_the_dsse_specification():
    """The example of the specification's protocol.md."""
    encoded = envelope.pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert envelope.pre_authentication_encoding("\N{SNOWMAN}", b"") == b"DSSEv1 3 \xe2\x98\x83 0 "


@given(st.tuples(st.text(), st.binary()), st.tuples(st.text(), st.binary()))
def test_no_two_documents_have_one_encoding(one, other):
    encode = envelope.pre_authentication_encoding
    assert (encode(*one) == encode(*other)) == (one == other)


def test_signed_read_and_believed():
    signed = a_pay()
    got = receive(wire.decode(Envelope, signed.bytes))
    assert got == signed
    assert got.issuer == ALICE.did
    assert got.signers == (ALICE.did,)
    encoding = envelope.pre_authentication_encoding(Pay.TYPE, signed.envelope.payload)
    assert got.id == hashlib.sha256(encoding).digest() == envelope.document_id(signed.envelope)
    assert envelope.from_bytes(signed.bytes, Pay) == signed


def test_any_flipped_bit_is_found():
    """All of them, one after another, in the whole envelope as it travels."""
    data = a_pay().bytes
    receive(wire.decode(Envelope, data))
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PeerError):
            receive(wire.decode(Envelope, bytes(changed)))


@given(st.data())
def test_any_cut_or_added_byte_is_found(data):
    whole = a_pay().bytes
    at = data.draw(st.integers(0, len(whole) - 1))
    for changed in (whole[:at], whole[:at] + whole[at + 1 :], whole[:at] + b"\x00" + whole[at:]):
        with pytest.raises(PeerError):
            receive(wire.decode(Envelope, changed))


def test_the_type_is_signed_too():
    """Issue and Redeem have the same fields: only the type inside the signature tells them apart."""
    issue = envelope.sign(Issue(head(), BOB.did, 5, "invoice"), ALICE).envelope
    disguised = replace(issue, payload_type=Redeem.TYPE)
    assert envelope.read(disguised, Redeem).doc.amount == 5
    assert fault_of(disguised, kind=Redeem) is Fault.BAD_SIGNATURE
    assert fault_of(issue, kind=Redeem) is Fault.WRONG_TYPE


def test_bytes_are_kept_verbatim():
    """A payload with an unknown field, or in another order, is verified as it came: it is never serialized again."""
    doc = a_pay().doc
    payload = wire.encode(doc) + b"\xfa\x01\x02hi"
    encoding = envelope.pre_authentication_encoding(Pay.TYPE, payload)
    sent = Envelope(payload, Pay.TYPE, (Signature(ALICE.did, ALICE.sign(encoding)),))
    got = receive(sent)
    assert got.doc == doc
    assert got.envelope.payload == payload
    assert got.id != a_pay().id


def test_a_countersigned_document_is_the_same_document():
    signed = a_pay()
    both = envelope.countersign(signed, BOB)
    assert both.id == signed.id
    assert both.envelope.payload == signed.envelope.payload
    assert envelope.authenticate(both, also=[BOB.did]).signers == (ALICE.did, BOB.did)
    with pytest.raises(PeerError, match="missing"):
        envelope.authenticate(signed, also=[BOB.did])


@pytest.mark.parametrize(
    "forge",
    [
        lambda e, s: replace(e, signatures=(replace(s[0], keyid=EVE.did), *s[1:])),
        lambda e, s: replace(e, signatures=(s[1], s[0])),
        lambda e, s: replace(e, signatures=(s[0], s[0])),
        lambda e, s: replace(e, signatures=(s[0], replace(s[1], sig=s[0].sig))),
        lambda e, s: replace(e, signatures=(*s, Signature(EVE.did, bytes(64)))),
        lambda e, s: replace(e, signatures=(s[1],)),
    ],
    ids=["another key", "wrong order", "twice the same", "one bad", "a bad one more", "not the issuer's"],
)
def test_signatures_that_do_not_hold(forge):
    both = envelope.countersign(a_pay(), BOB).envelope
    assert fault_of(forge(both, both.signatures)) is Fault.BAD_SIGNATURE


def test_only_the_issuer_signs_first():
    with pytest.raises(ValueError, match="issuer"):
        envelope.sign(a_pay().doc, EVE)
    payload = wire.encode(a_pay().doc)
    encoding = envelope.pre_authentication_encoding(Pay.TYPE, payload)
    assert fault_of(Envelope(payload, Pay.TYPE, (Signature(EVE.did, EVE.sign(encoding)),))) is Fault.BAD_SIGNATURE


def test_a_signature_is_not_malleable():
    """S + L is the same number modulo the group's order: there must be no second signature for one document."""
    signed = a_pay().envelope
    raw = signed.signatures[0].sig
    order = 2**252 + 27742317777372353535851937790883648493
    twin = raw[:32] + (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")
    assert fault_of(replace(signed, signatures=(Signature(ALICE.did, twin),))) is Fault.BAD_SIGNATURE


def test_audience():
    assert receive(a_pay(audience=("*",)).envelope, me="*")
    assert fault_of(a_pay(audience=("*",)).envelope, me=EVE.did) is Fault.WRONG_AUDIENCE, "no command is for everyone"
    assert receive(a_pay(audience=(EVE.did, BOB.did)).envelope)
    assert fault_of(a_pay().envelope, me=EVE.did) is Fault.WRONG_AUDIENCE


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"issued": NOW + limits.SKEW_MS, "expires": NOW + limits.SKEW_MS}, None),
        ({"issued": NOW + limits.SKEW_MS + 1}, Fault.FROM_THE_FUTURE),
        ({"issued": NOW - FIVE_MINUTES - limits.SKEW_MS, "expires": NOW - limits.SKEW_MS}, None),
        ({"issued": NOW - FIVE_MINUTES, "expires": NOW - limits.SKEW_MS - 1}, Fault.EXPIRED),
        ({"expires": NOW + FIVE_MINUTES}, None),
        ({"expires": NOW + FIVE_MINUTES + 1}, Fault.MALFORMED),
    ],
)
def test_time_to_the_millisecond(fields, fault):
    signed = a_pay(**fields).envelope
    if fault is None:
        assert receive(signed)
    else:
        assert fault_of(signed) is fault


def test_cheap_checks_come_before_the_signature():
    """An unsigned document is judged by size, type, audience and time first: nobody makes us verify for nothing."""
    unsigned = replace(a_pay().envelope, signatures=(Signature(ALICE.did, bytes(64)),))
    assert fault_of(unsigned, kind=Voucher) is Fault.WRONG_TYPE
    assert fault_of(unsigned, me=EVE.did) is Fault.WRONG_AUDIENCE
    assert fault_of(unsigned, now=NOW + 2 * FIVE_MINUTES) is Fault.EXPIRED
    assert fault_of(unsigned) is Fault.BAD_SIGNATURE
    assert fault_of(replace(unsigned, payload=bytes(limits.PAYLOAD_MAX + 1))) is Fault.TOO_LARGE


@settings(max_examples=50)
@given(
    st.binary(min_size=1, max_size=400),
    st.sampled_from([Pay.TYPE, "text/plain", "x"]),
    st.binary(min_size=64, max_size=64),
)
def test_garbage_in_an_envelope(payload, kind, sig):
    with pytest.raises(PeerError):
        receive(Envelope(payload, kind, (Signature(ALICE.did, sig),)))


@given(st.binary(max_size=400))
def test_garbage_for_an_envelope(data):
    with pytest.raises(PeerError):
        receive(wire.decode(Envelope, data))
