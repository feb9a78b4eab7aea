"""What came under a lease, on disk. Rule: receipt and ciphertext are here before their lock is signed.

Pictures and ciphertexts are megabytes: whoever needs only the money, or what people are told, reads a smaller row.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData, Table

from gpufair.protocol import limits
from gpufair.protocol.edge.columns import blob, number, truth

METADATA = MetaData()


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery: first its receipt and ciphertext, then our lock for it, then its key and what it opened.

    `step` is 0 for a picture (`plain` is its PNG); a checkpoint is that of the state after so many steps.
    """

    lease: bytes
    job: bytes
    picture: int
    receipt: bytes
    cipher: bytes
    hashlock: bytes
    amount: int
    locked: bool
    key: bytes
    plain: bytes
    step: int = 0
    leaves: bytes = b""
    """Of a checkpoint: the trace's leaves up to it, joined, as they were streamed to us. Its state is the last one."""


@dataclass(frozen=True, slots=True)
class DeliveryKey:
    """The money side of a delivery: its row without the megabytes."""

    lease: bytes
    job: bytes
    picture: int
    hashlock: bytes
    amount: int
    locked: bool
    key: bytes
    step: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands among its job's deliveries: a picture comes after its checkpoints."""
        return self.picture, self.step or limits.STEPS_MAX + 1


@dataclass(frozen=True, slots=True)
class LeavesRow:
    """The leaves that a checkpoint's trace had, alone."""

    step: int
    leaves: bytes


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A picture that came, for people: its receipt, and how large the picture is (0: not open) without reading it."""

    lease: bytes
    job: bytes
    picture: int
    receipt: bytes
    amount: int
    locked: bool
    keyed: bool
    """Whether its key is here: a picture that has one and is not open is not what its receipt says."""
    size: int


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """The same of a checkpoint."""

    lease: bytes
    job: bytes
    picture: int
    step: int
    receipt: bytes
    amount: int
    locked: bool
    keyed: bool
    size: int


@dataclass(frozen=True, slots=True)
class PlainRow:
    """What a delivery opened, alone."""

    plain: bytes


TABLES: dict[type, Table] = {
    DeliveryRow: Table(
        "deliveries", METADATA,
        blob("lease", key=True), blob("job", key=True), number("picture", key=True), blob("receipt"), blob("cipher"),
        blob("hashlock"), number("amount"), truth("locked"), blob("key"), blob("plain"), number("step", key=True),
        blob("leaves"),
    ),
    PictureRow: Table(  # a view of the deliveries that are pictures
        "pictures", METADATA,
        blob("lease", key=True), blob("job", key=True), number("picture", key=True), blob("receipt"), number("amount"),
        truth("locked"), truth("keyed"), number("size"),
    ),
    CheckpointRow: Table(  # a view of those that are not
        "checkpoints", METADATA,
        blob("lease", key=True), blob("job", key=True), number("picture", key=True), number("step", key=True),
        blob("receipt"), number("amount"), truth("locked"), truth("keyed"), number("size"),
    ),
}  # fmt: skip
TABLES[DeliveryKey] = TABLES[PlainRow] = TABLES[LeavesRow] = TABLES[DeliveryRow]
