"""Rule: one key has one did, one did has one key, and only its owner can sign for it."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import identity
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.identity import KeySigner

SPEC_DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
"""Of the did:key specification's Ed25519 test vectors: the key of 32 zero bytes of seed."""
FIELD = 2**255 - 19


def did_of(raw: bytes) -> str:
    return "did:key:z" + identity._base58(b"\xed\x01" + raw)


def test_the_specifications_vector():
    signer = KeySigner.from_seed(bytes(32))
    assert signer.did == SPEC_DID
    raw = identity.public_key(SPEC_DID).public_bytes_raw()
    assert raw.hex() == "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"


def test_rfc_8032_signatures():
    """Test 2 of section 7.1: key, message and signature are the RFC's."""
    signer = KeySigner.from_seed(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    signature = signer.sign(b"\x72")
    assert signature.hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    identity.verify(signer.did, b"\x72", signature)


@given(st.binary(min_size=32, max_size=32))
def test_a_did_is_its_key(seed):
    signer = KeySigner.from_seed(seed)
    assert identity.did_of(identity.public_key(signer.did)) == signer.did
    assert signer.did.startswith("did:key:z6Mk")
    identity.verify(signer.did, b"data", signer.sign(b"data"))
    with pytest.raises(PeerError) as caught:
        identity.verify(signer.did, b"date", signer.sign(b"data"))
    assert caught.value.fault is Fault.BAD_SIGNATURE


@given(st.text(max_size=80) | st.text(identity._ALPHABET, max_size=60).map("did:key:z".__add__))
def test_text_that_is_no_did(text):
    try:
        key = identity.public_key(text)
    except PeerError as error:
        assert error.fault is Fault.MALFORMED  # noqa: PT017 - a hit by chance is fine, if it is canonical
    else:
        assert identity.did_of(key) == text


@given(st.binary(min_size=0, max_size=40))
def test_base58_there_and_back(data):
    assert identity._unbase58(identity._base58(data)) == data


@pytest.mark.parametrize(
    "did",
    [
        "",
        "did:key:",
        "did:key:z",
        SPEC_DID + "1",
        SPEC_DID[:-1],
        SPEC_DID.replace("z6Mk", "z16Mk"),
        SPEC_DID.replace("did:key:z", "did:key:Z"),
        SPEC_DID.upper(),
        " " + SPEC_DID,
        SPEC_DID + "\n",
        SPEC_DID + "#" + SPEC_DID[8:],
        SPEC_DID.replace("o", "0"),
        "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc",  # an X25519 key
        "did:web:example.com",
        did_of(bytes([5]) * 31),
        did_of(bytes([5]) * 33),
    ],
)
def test_near_misses(did):
    with pytest.raises(PeerError) as caught:
        identity.public_key(did)
    assert caught.value.fault is Fault.MALFORMED


WEAK_Y = [0, 1, FIELD - 1, identity._ORDER_8, FIELD - identity._ORDER_8, FIELD, FIELD + 1]


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", WEAK_Y)
def test_a_key_that_anybody_can_sign_with(y, sign):
    """Points of small order, and a second spelling of a good key, are no identities."""
    raw = (y | sign << 255).to_bytes(32, "little")
    with pytest.raises(PeerError, match="only its owner"):
        identity.public_key(did_of(raw))


def test_such_keys_are_a_real_danger():
    """What the refusal above prevents: OpenSSL takes a signature of zeros under the neutral point for any message."""
    neutral = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"pay everything to Eve")


@pytest.mark.parametrize("y", range(FIELD, 2**255))
def test_there_is_no_second_spelling_of_a_key(y):
    with pytest.raises(PeerError):
        identity.public_key(did_of(y.to_bytes(32, "little")))


def test_a_signature_of_the_wrong_length():
    for length in (0, 63, 65, 1000):
        with pytest.raises(PeerError) as caught:
            identity.verify(SPEC_DID, b"x", bytes(length))
        assert caught.value.fault is Fault.BAD_SIGNATURE


def test_short_is_for_people():
    assert identity.short(SPEC_DID) == "6MkiTBz1ymue…"
    assert len(identity.short("\x1b[2J" + "x" * 1000)) == 13
