"""What a delivery must be before we sign for it. Rule: every claim in a receipt is compared with what we know."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gpufair.protocol import limits, sealing, trace
from gpufair.protocol.envelope import Signed
from gpufair.protocol.messages import Goods, JobHeader, Receipt, Spec

_BYTES_PER_PIXEL = 4


def largest_cipher(spec: Spec) -> int:
    """An upper bound for a picture's ciphertext in bytes: raw pixels, a filter byte a row, and room for PNG's frame."""
    raw = spec.width * spec.height * _BYTES_PER_PIXEL + spec.height
    return min(limits.OUTPUT_MAX, raw + raw // 1000 + 64 * limits.KIB) + sealing.CIPHER_OVERHEAD


def faults(
    receipt: Signed[Receipt],
    cipher: bytes,
    leaves: Sequence[bytes],
    *,
    provider: str,
    job: Signed[JobHeader],
    attempt: bytes,
    increment: int,
) -> list[str]:
    """Everything that is wrong with a delivery (docs/payment.md, rule 9); empty means that its lock may be signed."""
    claim, header, steps = receipt.doc, job.doc, job.doc.spec.steps
    checks = [
        (receipt.issuer == provider, "the receipt is not the provider's"),
        ((claim.lease, claim.job, claim.attempt) == (header.lease, header.job, attempt), "it is for another attempt"),
        (claim.head.parent == job.id and claim.spec == header.spec, "it answers another job"),
        (claim.goods is Goods.PICTURE and claim.picture < header.spec.count, "it is for goods that were not ordered"),
        ((claim.first_step, claim.last_step) == (0, steps), "it is for other steps"),
        (claim.increment == increment, f"it asks {claim.increment} where the quote says {increment}"),
        (claim.cipher_length == len(cipher), "the ciphertext has another length"),
        (claim.cipher_sha256 == hashlib.sha256(cipher).digest(), "the ciphertext has another digest"),
        (claim.leaf_count == steps + 1 == len(leaves), "the trace is not of all the steps"),
        (bool(leaves) and claim.trace_root == trace.root(leaves), "the trace root is not that of the streamed leaves"),
    ]
    return [fault for holds, fault in checks if not holds]


def opened_faults(receipt: Receipt, png: bytes) -> list[str]:
    """What is wrong with the picture that the key opened; receipt, ciphertext and key then convince any third party."""
    checks = [
        (receipt.plain_length == len(png), "the picture has another length than its receipt says"),
        (receipt.plain_sha256 == hashlib.sha256(png).digest(), "the picture has another digest than its receipt says"),
    ]
    return [fault for holds, fault in checks if not holds]
