"""Rule: a certificate that can't be pinned is refused with the reason, whatever bytes it is made of."""

import contextlib
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufair.protocol import limits
from gpufair.protocol.edge import tls
from gpufair.protocol.errors import Fault, PeerError

OURS = tls.create().certificate


def certificate(key, name="gpufair.node", algorithm=None):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def test_ours_is_fit_to_be_carried():
    assert len(OURS) < limits.CERT_MAX // 4
    found = tls.check_certificate(OURS)
    assert found.not_valid_after_utc.year == 9999
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert len(tls.certificate_sha256(OURS)) == 32


@pytest.mark.parametrize(
    "other",
    [
        certificate(ec.generate_private_key(ec.SECP384R1()), algorithm=hashes.SHA256()),
        certificate(ed25519.Ed25519PrivateKey.generate()),
        certificate(ec.generate_private_key(ec.SECP256R1()), name="example.com", algorithm=hashes.SHA256()),
        b"",
        b"\x30\x82\xff\xff",
        OURS[:-1],
        OURS + b"\0",
    ],
    ids=["P-384", "Ed25519", "another name", "empty", "a length that lies", "cut", "with a tail"],
)
def test_others_are_refused(other):
    with pytest.raises(PeerError) as caught:
        tls.check_certificate(other)
    assert caught.value.fault is Fault.MALFORMED


def test_a_huge_one_is_not_even_parsed():
    with pytest.raises(PeerError) as caught:
        tls.check_certificate(bytes(limits.CERT_MAX + 1))
    assert caught.value.fault is Fault.TOO_LARGE


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(OURS) * 8 - 1))
def test_a_flipped_bit_is_refused_or_harmless(bit):
    changed = bytearray(OURS)
    changed[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(PeerError):
        tls.check_certificate(bytes(changed))
