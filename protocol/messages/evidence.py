"""What convicts a cheat. Rule: it proves itself or means nothing; who brings it is believed in nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from gpufair.protocol import fields as f
from gpufair.protocol import limits
from gpufair.protocol.messages.common import Document


class Crime(IntEnum):
    """What is proved, and so what the documents are.

    Two broadcasts: two offers, or two node records, of one sequence. Noise: a receipt; blobs: its ciphertext and the
    key. Two heads: two journal heads of one sequence. Failed audit: none; the blob is an `AuditFile`, and only a replay
    proves it. False leaf: a checkpoint's receipt; blobs: ciphertext, key, and the trace's leaves, joined.
    """

    UNSPECIFIED = 0
    TWO_BROADCASTS = 1
    NOISE = 2
    TWO_HEADS = 3
    FAILED_AUDIT = 4
    FALSE_LEAF = 5


@dataclass(frozen=True, slots=True)
class Evidence(Document):
    """Against one identity. Broadcast: audience `*`, no parent; signed by who brings it, which proves nothing.

    `documents` are envelopes, verbatim, that the accused has signed; `blobs` the bytes that belong to them.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.evidence.v1+protobuf"
    SIZE_MAX: ClassVar[int] = limits.PAYLOAD_MAX

    accused: f.Did
    crime: Crime
    documents: Annotated[tuple[f.EnvelopeBytes, ...], f.Size(0, 2)] = ()
    blobs: Annotated[tuple[Annotated[bytes, f.Size(0, limits.PAYLOAD_MAX)], ...], f.Size(0, 3)] = ()
