"""Sealing keys from outside: one that nothing can be sealed to is its owner's fault, in a typed error."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gpufair.protocol import sealing
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import JobBody

BODY = JobBody(bytes(16), "a fox", "", 7, 1_000)
LEASE, JOB = bytes(32), bytes(16)
UNUSABLE = {
    "zero": bytes(32),
    "one": b"\x01" + bytes(31),
    "order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "order 8, too": bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "p - 1": bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    "short": bytes(31),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_key_of_low_order_is_refused_before_and_while_sealing(name: str) -> None:
    with pytest.raises(PeerError, match="sealing key"):
        sealing.check_recipient(UNUSABLE[name])
    with pytest.raises(PeerError, match="sealing key"):
        sealing.seal_body(BODY, UNUSABLE[name], lease=LEASE, job=JOB)


def test_what_is_sealed_to_a_good_key_opens_there_alone() -> None:
    key, other = (X25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))
    recipient = key.public_key().public_bytes_raw()
    sealing.check_recipient(recipient)
    sealed = sealing.seal_body(BODY, recipient, lease=LEASE, job=JOB)
    assert sealing.open_body(sealed, key, lease=LEASE, job=JOB) == BODY
    for wrong in ((other, LEASE, JOB), (key, b"\x01" * 32, JOB), (key, LEASE, b"\x01" * 16)):
        with pytest.raises(PeerError):
            sealing.open_body(sealed, wrong[0], lease=wrong[1], job=wrong[2])
