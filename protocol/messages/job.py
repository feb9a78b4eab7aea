"""The work and the proof of it. Rule: the header is public and priced, the body sealed, the receipt names no buyer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from gpufair.protocol import fields as f
from gpufair.protocol import limits
from gpufair.protocol.messages.common import Document, Reason
from gpufair.protocol.messages.market import Precision, Scheduler, Task

Side = Annotated[int, f.Range(1, 2**20)]
"""Wider than what can be sold: `matching` refuses a size with numbers, the wire only refuses nonsense."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA by digest and its weight in thousandths."""

    digest: f.Digest
    weight_milli: Annotated[int, f.Range(-8_000, 8_000)]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a job's price and feasibility depend on, and nothing else.

    The schedule has `skip` + `steps` steps. The first `skip` are not done, as the picture begins from an input instead
    of from noise; of the `steps` that follow, the first `done` were computed and paid elsewhere, and the picture goes
    on from a state (then `count` is 1). The others are computed, traced and paid.
    """

    task: Task
    model: f.Digest
    scheduler: Scheduler
    precision: Precision
    width: Side
    height: Side
    steps: Annotated[int, f.Range(0, 2**31 - 1)]
    count: Annotated[int, f.Range(0, 2**31 - 1)]
    guided: bool
    adapters: Annotated[tuple[Adapter, ...], f.Size(0, limits.ADAPTERS_MAX)] = ()
    skip: Annotated[int, f.Range(0, 2**31 - 1)] = 0
    done: Annotated[int, f.Range(0, 2**31 - 1)] = 0


@dataclass(frozen=True, slots=True)
class JobHeader(Document):
    """One signed unit of work under a lease (`head.parent`). `job` is chosen by the client, unique in the lease.

    `body_sha256` and `body_length` are of the sealed body. `plain_sha256` is of the body before it was sealed: its salt
    hides it, and whoever is shown the body later knows that it is the one that was ordered. `audit_commitment` is the
    SHA-256 of the nonce that draws the step to be audited.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.job.v1+protobuf"

    lease: f.Digest
    job: f.Id
    spec: Spec
    worker_image: f.Digest
    body_sha256: f.Digest
    audit_commitment: f.MaybeDigest
    deadline_ms: Annotated[int, f.Range(1, limits.DEADLINE_MAX_MS)]
    memory_bytes: f.Count
    preview_every: Annotated[int, f.Range(0, limits.STEPS_MAX)]
    checkpoint: f.MaybeDigest = b""
    """The receipt of the checkpoint to go on from (its document id); empty for a job from its first step."""
    body_length: Annotated[int, f.Range(1, limits.SEALED_MAX)] = limits.BODY_MAX
    plain_sha256: f.MaybeDigest = b""
    checkpoint_every: Annotated[int, f.Range(0, limits.STEPS_MAX)] = 0
    """Steps after which the state so far is sold, at the latest; 0: where the window or a stop demands it."""


class InputKind(IntEnum):
    """What an input is: the picture to begin from, where it is to be made anew (white), or how far it has come."""

    UNSPECIFIED = 0
    IMAGE = 1
    MASK = 2
    STATE = 3


@dataclass(frozen=True, slots=True)
class Input:
    """What the work begins from: a PNG of exactly the job's size (RGB, a mask in one grey channel), or the state that a
    trace's leaf commits to, as a checkpoint delivers it.
    """

    kind: InputKind
    data: Annotated[bytes, f.Size(1, max(limits.INPUTS_BYTES_MAX, limits.STATE_MAX))]


@dataclass(frozen=True, slots=True)
class JobBody:
    """What only the executing provider sees. Sealed, never signed, never logged. `salt` hides a guessable prompt."""

    salt: Annotated[bytes, f.Size(limits.SALT_BYTES, limits.SALT_BYTES)]
    prompt: Annotated[str, f.Size(0, limits.PROMPT_MAX)]
    negative_prompt: Annotated[str, f.Size(0, limits.PROMPT_MAX)]
    seed: Annotated[int, f.Range(0, 2**63 - 1)]
    guidance_milli: Annotated[int, f.Range(0, limits.GUIDANCE_MILLI_MAX)]
    inputs: Annotated[tuple[Input, ...], f.Size(0, limits.INPUTS_MAX)] = ()


@dataclass(frozen=True, slots=True)
class JobAcceptance(Document):
    """The provider takes the job whose document id is `head.parent`, at this price; only now is the body sent."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.job-acceptance.v1+protobuf"

    lease: f.Digest
    job: f.Id
    attempt: f.Id
    upfront: f.Amount
    total: f.PositiveAmount


class Goods(IntEnum):
    """What a delivery holds."""

    UNSPECIFIED = 0
    PICTURE = 1
    CHECKPOINT = 2


class Aead(IntEnum):
    """The cipher of a delivery. Each key is used once, so the nonce is all zero."""

    UNSPECIFIED = 0
    AES_256_GCM = 1


@dataclass(frozen=True, slots=True)
class Receipt(Document):
    """What the provider states, under its signature, that it did for one delivery. Audience `*`: anyone may check it.

    Digests are over the PNG before the receipt is put into it, or over the state that a checkpoint holds. The steps
    `first_step` to `last_step` are those that no earlier delivery of the picture was for; the trace has a leaf for each
    state from that after `spec.done` steps to that after `last_step`. `increment` is what this delivery adds to the
    lease's due, `total_due` the lease's due with it.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.receipt.v1+protobuf"

    lease: f.Digest
    job: f.Id
    attempt: f.Id
    goods: Goods
    picture: Annotated[int, f.Range(0, limits.COUNT_MAX - 1)]
    first_step: Annotated[int, f.Range(0, limits.STEPS_MAX)]
    last_step: Annotated[int, f.Range(1, limits.STEPS_MAX)]
    cipher_sha256: f.Digest
    cipher_length: Annotated[int, f.Range(1, limits.OUTPUT_MAX + limits.KIB)]
    plain_sha256: f.Digest
    plain_length: Annotated[int, f.Range(1, limits.OUTPUT_MAX)]
    hashlock: f.Digest
    aead: Aead
    increment: f.PositiveAmount
    total_due: f.PositiveAmount
    trace_root: f.Digest
    leaf_count: Annotated[int, f.Range(1, limits.STEPS_MAX + 2)]
    profile: f.Digest
    spec: Spec


@dataclass(frozen=True, slots=True)
class StreamOpen(Document):
    """The client's answer to a stream's challenge, bound to the provider's certificate: nothing counts before it."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.stream-open.v1+protobuf"

    lease: f.Digest
    challenge: f.Digest
    certificate_sha256: f.Digest


@dataclass(frozen=True, slots=True)
class Cancel(Document):
    """The client stops one job at its next step; what was done by then is delivered as a checkpoint, and due."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.cancel.v1+protobuf"

    lease: f.Digest
    job: f.Id


@dataclass(frozen=True, slots=True)
class Finish(Document):
    """The client wants nothing more under this lease: the provider may settle now instead of at the idle limit."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.finish.v1+protobuf"

    lease: f.Digest


@dataclass(frozen=True, slots=True)
class Fetch(Document):
    """The client asks again for a delivery (receipt, ciphertext, and the key if it is due)."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.fetch.v1+protobuf"

    lease: f.Digest
    job: f.Id
    picture: Annotated[int, f.Range(0, limits.COUNT_MAX - 1)]
    step: Annotated[int, f.Range(0, limits.STEPS_MAX)] = 0
    """The checkpoint after so many steps; 0: the picture."""


class Outcome(IntEnum):
    """How an attempt ended; the five stops have five names.

    Cancelled: the client. Reclaimed: the owner takes the GPU back. Preempted: a better bid. Drained: the node goes down
    for good, and its grace was over. Expired: time ran out. Each ends at a step; what was done of a picture by then is
    delivered as a checkpoint, and due.
    """

    UNSPECIFIED = 0
    DELIVERED = 1
    REJECTED = 2
    FAILED = 3
    CANCELLED = 4
    RECLAIMED = 5
    PREEMPTED = 6
    EXPIRED = 7
    DRAINED = 8


@dataclass(frozen=True, slots=True)
class JobEnded(Document):
    """The provider's signed end of an attempt. `upfront_credit` is what goes back against what is due next."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.job-ended.v1+protobuf"

    lease: f.Digest
    job: f.Id
    attempt: f.Id
    outcome: Outcome
    upfront_credit: f.Amount
    reasons: Annotated[tuple[Reason, ...], f.Size(0, limits.REASONS_MAX)] = ()


@dataclass(frozen=True, slots=True)
class Reserve(Document):
    """The client has a warm worker held for its lease, from the end of what it holds already, for `lasts_ms`.

    Paid up front, unlocked, like every line that is due before work: `per_reserved_second` for each second begun.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.reserve.v1+protobuf"

    lease: f.Digest
    lasts_ms: Annotated[int, f.Range(limits.RESERVE_MIN_MS, limits.RESERVE_MAX_MS)]


@dataclass(frozen=True, slots=True)
class Reserved(Document):
    """The provider will hold the worker, once `amount` is paid, until then; `head.parent` is the order's id."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.reserved.v1+protobuf"

    lease: f.Digest
    from_ms: f.TimeMs
    until_ms: f.TimeMs
    amount: f.Amount


@dataclass(frozen=True, slots=True)
class ReserveEnded(Document):
    """The worker is held no longer. `credit` goes back against what is due next; `head.parent` is the order's id."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.reserve-ended.v1+protobuf"

    lease: f.Digest
    at_ms: f.TimeMs
    credit: f.Amount
    reasons: Annotated[tuple[Reason, ...], f.Size(0, limits.REASONS_MAX)] = ()
