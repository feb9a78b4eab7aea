"""Offline verification: a true picture passes; a changed, foreign, forged or bare one has a reason each."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from gpufair.client.failures import VerificationError
from gpufair.client.market.wish import Wish
from gpufair.client.pictures.verify import sealed_with, verify
from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.messages import Aead, Goods, Receipt


@pytest.fixture
def receipt(a_seller: Any, a_model: Any, a_png: bytes) -> Any:
    def make(png: bytes = a_png, seed: int = 1, **fields: Any) -> Signed[Receipt]:
        desk = a_seller(seed).desk
        doc = Receipt(
            head=desk.head(BROADCAST, parent=bytes(32), expires_at_ms=limits.TIME_MAX_MS), lease=bytes(32),
            job=bytes(16), attempt=bytes(16), goods=Goods.PICTURE, picture=0, first_step=0, last_step=20,
            cipher_sha256=bytes(32), cipher_length=len(png) + 16, plain_sha256=hashlib.sha256(png).digest(),
            plain_length=len(png), hashlock=bytes(32), aead=Aead.AES_256_GCM, increment=11, total_due=11,
            trace_root=bytes(32), leaf_count=21, profile=bytes(32), spec=Wish("a fox").specs(a_model())[0],
        )  # fmt: skip
        signed: Signed[Receipt] = desk.sign(replace(doc, **fields))
        return signed

    return make


def test_a_true_picture_passes_and_names_its_maker(receipt: Any, a_png: bytes) -> None:
    signed = receipt()
    checked = verify(sealed_with(a_png, signed.bytes), provider=signed.issuer)
    assert (checked.provider, checked.plain, checked.receipt.id) == (signed.issuer, a_png, signed.id)


def test_another_picture_under_the_receipt_is_found(receipt: Any, a_png: bytes) -> None:
    with pytest.raises(VerificationError, match="not the one of its receipt"):
        verify(sealed_with(a_png, receipt(plain_sha256=bytes(32)).bytes))
    with pytest.raises(VerificationError, match="another length"):
        verify(sealed_with(a_png, receipt(plain_length=5).bytes))


def test_another_maker_than_expected_is_found(receipt: Any, a_png: bytes, a_seller: Any) -> None:
    with pytest.raises(VerificationError, match="somebody else"):
        verify(sealed_with(a_png, receipt(seed=2).bytes), provider=a_seller(1).desk.did)


def test_a_checkpoint_is_no_picture(receipt: Any, a_png: bytes) -> None:
    with pytest.raises(VerificationError, match="not for a picture"):
        verify(sealed_with(a_png, receipt(goods=Goods.CHECKPOINT).bytes))


def test_every_flipped_bit_of_the_receipt_is_found(receipt: Any, a_png: bytes) -> None:
    data = receipt().bytes
    for at in range(0, len(data) * 8, 7):
        bent = bytearray(data)
        bent[at // 8] ^= 1 << at % 8
        with pytest.raises(VerificationError):
            verify(sealed_with(a_png, bytes(bent)))


def test_a_picture_without_a_receipt_says_what_to_do(a_png: bytes) -> None:
    with pytest.raises(VerificationError, match="no receipt") as caught:
        verify(a_png)
    assert "gpufair fetch" in caught.value.hint
