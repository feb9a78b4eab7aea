"""Many pictures as one piece of business, on disk. Rule: what was begun for a picture is here before it is ordered.

A batch has items, one picture each. An item may be tried under several leases, one after the other or two at a time; a
try names the job that it is. What tells whether a picture may still be signed for is in `works`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData, Table

from gpufair.protocol.edge.columns import blob, number, truth, words

METADATA = MetaData()


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One batch. `options` is what all its pictures have in common, as JSON; the pictures to begin from lie beside."""

    id: bytes
    title: str
    budget: int
    """The most that it may cost in all, in micro-credits."""
    options: str
    image: bytes
    mask: bytes
    folder: str
    """Where its files go."""
    created_ms: int


@dataclass(frozen=True, slots=True)
class BatchKey:
    """Which batches there are, without the pictures that they begin from."""

    id: bytes
    title: str
    budget: int
    folder: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One picture of a batch, in its place. `options` are its own, as JSON; `lease` and `job` what brought it."""

    batch: bytes
    place: int
    name: str
    """The name of its file."""
    options: str
    lease: bytes
    job: bytes
    """Both are empty until it is here."""
    notes: str
    """Why tries came to nothing: a JSON list of texts."""


@dataclass(frozen=True, slots=True)
class TryRow:
    """A job that was, or was about to be, ordered for an item."""

    lease: bytes
    job: bytes
    batch: bytes
    place: int
    off: bool
    """Nothing more is signed for it: the picture is bought elsewhere, or its provider is given up."""
    doubtful: bool
    """Signed for, and its key never came: its place may be bought elsewhere."""


@dataclass(frozen=True, slots=True)
class BatchLeaseRow:
    """A lease that was taken for a batch."""

    lease: bytes
    batch: bytes
    over: bool
    """Nothing more is signed under it."""


TABLES: dict[type, Table] = {
    BatchRow: Table(
        "batches", METADATA,
        blob("id", key=True), words("title"), number("budget"), words("options"), blob("image"), blob("mask"),
        words("folder"), number("created_ms"),
    ),
    ItemRow: Table(
        "batch_items", METADATA,
        blob("batch", key=True), number("place", key=True), words("name"), words("options"), blob("lease"), blob("job"),
        words("notes"),
    ),
    TryRow: Table(
        "batch_tries", METADATA,
        blob("lease", key=True), blob("job", key=True), blob("batch"), number("place"), truth("off"),
        truth("doubtful"),
    ),
    BatchLeaseRow: Table("batch_leases", METADATA, blob("lease", key=True), blob("batch"), truth("over")),
}  # fmt: skip
TABLES[BatchKey] = TABLES[BatchRow]
