"""What a delivery must be before we sign for it. Rule: every claim in a receipt is compared with what we know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gpufair.protocol import limits, sealing, trace
from gpufair.protocol.envelope import Signed
from gpufair.protocol.messages import Goods, JobHeader, PriceSheet, Receipt, Spec
from gpufair.protocol.pricing import piece

_BYTES_PER_PIXEL = 4
_STATE_BYTES_PER_PIXEL = 48
"""Of a model that works in pixels: three channels of four bytes, and three such tensors that its scheduler carries."""


def largest_cipher(spec: Spec, step: int = 0) -> int:
    """An upper bound for a delivery's ciphertext in bytes.

    A picture (`step` 0): raw pixels, a filter byte a row, and room for PNG's frame. A checkpoint: one state.
    """
    if step:
        state = min(limits.STATE_MAX, spec.width * spec.height * _STATE_BYTES_PER_PIXEL + limits.KIB)
        return state + sealing.CIPHER_OVERHEAD
    raw = spec.width * spec.height * _BYTES_PER_PIXEL + spec.height
    return min(limits.OUTPUT_MAX, raw + raw // 1000 + 64 * limits.KIB) + sealing.CIPHER_OVERHEAD


@dataclass(frozen=True, slots=True)
class Expected:
    """What the wallet knows about a delivery before it has come."""

    provider: str
    job: Signed[JobHeader]
    attempt: bytes
    sheet: PriceSheet
    window: int
    """No increment is more than this (rule 3)."""
    after: int
    """The step that the delivery before it ended with; of the first one, that which the job goes on from."""
    leaves: tuple[bytes, ...]
    """Those that were streamed to us, from the state that the picture began with to the delivery's last step."""
    start: bytes
    """The leaf of the state that we gave it to go on from; empty for a job from its first step."""


def faults(receipt: Signed[Receipt], cipher: bytes, known: Expected) -> list[str]:
    """Everything that is wrong with a delivery (docs/payment.md, rule 9); empty means that its lock may be signed."""
    claim, header, leaves = receipt.doc, known.job.doc, known.leaves
    states = claim.last_step - header.spec.done + 1
    checks = [
        (receipt.issuer == known.provider, "the receipt is not the provider's"),
        ((claim.lease, claim.job, claim.attempt) == (header.lease, header.job, known.attempt),
         "it is for another attempt"),
        (claim.head.parent == known.job.id and claim.spec == header.spec, "it answers another job"),
        (claim.picture < header.spec.count, "it is for goods that were not ordered"),
        *_price_checks(claim, known),
        (claim.cipher_length == len(cipher), "the ciphertext has another length"),
        (claim.cipher_sha256 == hashlib.sha256(cipher).digest(), "the ciphertext has another digest"),
        (claim.leaf_count == states == len(leaves), "the trace is not of all the steps"),
        (bool(leaves) and claim.trace_root == trace.root(leaves), "the trace root is not that of the streamed leaves"),
        (not known.start or leaves[:1] == (known.start,), "the trace does not begin with the state that we gave"),
    ]  # fmt: skip
    return [fault for holds, fault in checks if not holds]


def _price_checks(claim: Receipt, known: Expected) -> list[tuple[bool, str]]:
    """Whether it is the next piece of its picture, and costs what that costs."""
    spec, is_picture = known.job.doc.spec, claim.goods is Goods.PICTURE
    ends_well = claim.last_step == spec.steps if is_picture else known.after < claim.last_step < spec.steps
    if claim.first_step != known.after or not ends_well:
        return [(False, "it is for other steps")]
    price = piece(spec, known.sheet, claim.first_step, claim.last_step, whole=is_picture)
    return [
        (claim.goods in (Goods.PICTURE, Goods.CHECKPOINT), "it is for goods that were not ordered"),
        (claim.increment == price, f"it asks {claim.increment} where the quote says {price}"),
        (claim.increment <= known.window, f"it asks {claim.increment} at once, the lease allows {known.window}"),
    ]


def opened_faults(receipt: Receipt, plain: bytes, leaf: bytes = b"") -> list[str]:
    """What is wrong with what the key opened; receipt, ciphertext and key then convince any third party.

    `leaf` is the last leaf of a checkpoint's trace: its state must be the one behind it. The leaves, which lead to the
    receipt's root, are part of that evidence.
    """
    checks = [
        (receipt.plain_length == len(plain), "what the key opens has another length than its receipt says"),
        (receipt.plain_sha256 == hashlib.sha256(plain).digest(),
         "what the key opens has another digest than its receipt says"),
        (receipt.goods is Goods.PICTURE or is_behind(plain, receipt.last_step, leaf),
         "the checkpoint is not the state that its trace has there"),
    ]  # fmt: skip
    return [fault for holds, fault in checks if not holds]


def is_behind(state: bytes, step: int, leaf: bytes) -> bool:
    """Whether these are the bytes that a leaf commits to."""
    return bool(state) and len(state) % 4 == 0 and trace.leaf(step, state) == leaf
