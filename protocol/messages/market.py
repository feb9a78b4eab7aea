"""Who is there, what it sells, and how buyer and seller agree. Rule: a lease is its bid's own bytes, signed by both."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from gpufair.protocol import fields as f
from gpufair.protocol import limits
from gpufair.protocol.messages.common import Document, Reasons

Endpoint = Annotated[str, f.Size(3, limits.NAME_MAX), f.Printable()]


class Role(IntEnum):
    """What a node does."""

    UNSPECIFIED = 0
    PROVIDER = 1
    DIRECTORY = 2
    LEDGER = 3


class Task(IntEnum):
    """What a worker can be asked to make."""

    UNSPECIFIED = 0
    TEXT_TO_IMAGE = 1
    IMAGE_TO_IMAGE = 2
    INPAINT = 3


class ModelState(IntEnum):
    """Where a model is: nowhere here, on the provider's disk, or loaded in a worker."""

    UNSPECIFIED = 0
    ABSENT = 1
    CACHED = 2
    WARM = 3


class Isolation(IntEnum):
    """What stands between a job and the owner's machine, weakest first."""

    UNSPECIFIED = 0
    NONE = 1
    CONTAINER = 2
    GVISOR = 3


class BidClass(IntEnum):
    """On demand: at or above the ask, and no other bid displaces it. Interruptible: anywhere above the floor; a better
    bid may displace it at any step. Reserved: as on demand, and a warm worker is held while its seconds are paid.
    """

    UNSPECIFIED = 0
    ON_DEMAND = 1
    INTERRUPTIBLE = 2
    RESERVED = 3


class Precision(IntEnum):
    """The arithmetic that the denoiser may use; latents and scheduler are fp32 in every class.

    Exact: fp32, each picture computed alone, bitwise the same within one runtime profile. Single: fp32, in the company
    of other jobs' pictures, the same within 1e-5. Half: 16 bits.
    """

    UNSPECIFIED = 0
    EXACT = 1
    HALF = 2
    SINGLE = 3


class Scheduler(IntEnum):
    """How the noise goes out, step by step. Own: the one that the model brings, for families that need theirs."""

    UNSPECIFIED = 0
    DDIM = 1
    EULER = 2
    EULER_ANCESTRAL = 3
    DPMPP_2M = 4
    UNIPC = 5
    LCM = 6
    OWN = 7


@dataclass(frozen=True, slots=True)
class NodeRecord(Document):
    """A node's card: where it is, the certificate to pin (DER), and the X25519 key to seal job bodies to."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.node-record.v1+protobuf"
    SIZE_MAX: ClassVar[int] = limits.PAYLOAD_MAX

    sequence: f.Sequence
    roles: Annotated[tuple[Role, ...], f.Size(1, 8)]
    endpoints: Annotated[tuple[Endpoint, ...], f.Size(0, limits.ENDPOINTS_MAX)]
    tls_certificate: Annotated[bytes, f.Size(1, limits.CERT_MAX)]
    sealing_key: f.Key
    software: f.Name


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """What work on one model costs, in micro-credits. Every job is priced from this and its header alone."""

    model: f.Digest
    per_step_megapixel: f.PositiveRate
    per_decoded_megapixel: f.Rate
    per_cold_load: f.Amount
    per_adapter: f.Amount
    minimum: f.Amount
    per_reserved_second: f.Amount = 0
    """Of a warm worker that is held for one lease, beside the work that it does; 0: not for sale."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a provider found itself with one model, alone on its worker. Microseconds; 0 is not measured."""

    step_megapixel_us: f.Count = 0
    decoded_megapixel_us: f.Count = 0
    load_us: f.Count = 0


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """One model on sale. The digest is its name; `name` is for people. It does these tasks, with these schedulers."""

    digest: f.Digest
    name: f.Name
    family: f.Name
    licence: f.MaybeName
    state: ModelState
    sheet: PriceSheet
    tasks: Annotated[tuple[Task, ...], f.Size(0, 32)] = (Task.TEXT_TO_IMAGE,)
    schedulers: Annotated[tuple[Scheduler, ...], f.Size(0, 32)] = ()
    """Empty: all of the offer's."""
    speed: Speed | None = None


@dataclass(frozen=True, slots=True)
class AdapterOffer:
    """A LoRA that the provider has, and the models of its offer that it fits."""

    digest: f.Digest
    name: f.Name
    licence: f.MaybeName
    models: Annotated[tuple[f.Digest, ...], f.Size(0, limits.OFFER_MODELS_MAX)]


@dataclass(frozen=True, slots=True)
class WorkerImage:
    """A worker that the owner allows, by the digest of its content (an OCI image, or our own wheel)."""

    digest: f.Digest
    name: f.Name


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of accelerator in the machine; memory in bytes of one of them."""

    name: f.Name
    memory_bytes: f.Count
    count: Annotated[int, f.Range(1, limits.OFFER_GPUS_MAX)]


@dataclass(frozen=True, slots=True)
class LedgerRef:
    """A ledger that the provider trusts with its earnings, and where to reach it."""

    did: f.Did
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class JobLimits:
    """The largest job that the provider takes."""

    pixels: Annotated[int, f.Range(1, limits.PIXELS_MAX)]
    steps: Annotated[int, f.Range(1, limits.STEPS_MAX)]
    count: Annotated[int, f.Range(1, limits.COUNT_MAX)]
    memory_bytes: f.Count


@dataclass(frozen=True, slots=True)
class Offer(Document):
    """A provider's advert. `record` is its node record's document id; `window_max` the window for strangers.

    What a bid has to pay at least follows from the sheets here, its class and its notice: `pricing.asked`.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.offer.v1+protobuf"
    SIZE_MAX: ClassVar[int] = limits.PAYLOAD_MAX

    sequence: f.Sequence
    record: f.Digest
    gpus: Annotated[tuple[Gpu, ...], f.Size(0, limits.OFFER_GPUS_MAX)]
    cpu_cores: f.Small
    memory_bytes: f.Count
    tasks: Annotated[tuple[Task, ...], f.Size(1, 32)]
    schedulers: Annotated[tuple[Scheduler, ...], f.Size(1, 32)]
    precisions: Annotated[tuple[Precision, ...], f.Size(1, 8)]
    classes: Annotated[tuple[BidClass, ...], f.Size(1, 4)]
    models: Annotated[tuple[ModelOffer, ...], f.Size(0, limits.OFFER_MODELS_MAX)]
    worker_images: Annotated[tuple[WorkerImage, ...], f.Size(0, limits.OFFER_IMAGES_MAX)]
    ledgers: Annotated[tuple[LedgerRef, ...], f.Size(1, limits.OFFER_LEDGERS_MAX)]
    isolation: Isolation
    profiles: Annotated[tuple[f.Digest, ...], f.Size(0, limits.OFFER_PROFILES_MAX)]
    limits: JobLimits
    window_max: f.Amount
    queue_free: f.Small
    region: f.MaybeName
    adapters: Annotated[tuple[AdapterOffer, ...], f.Size(0, limits.OFFER_ADAPTERS_MAX)] = ()
    floor_milli: f.Milli = 1_000
    """The least that an interruptible bid may pay, in thousandths of the sheets."""
    notice_max_ms: Annotated[int, f.Range(0, limits.NOTICE_MAX_MS)] = 0
    """The longest notice that the owner gives before it takes the GPU back."""
    notice_discount_milli: f.Milli = 0
    """What comes off the sheets, in thousandths, for no notice at all; half of it for half of the longest."""
    queue_ms: f.Count = 0
    """About how long a new job waits for its turn, rounded up to a power of two seconds."""
    traces_bytes: f.Count = 0
    """Room for the traces that audits ask for."""


@dataclass(frozen=True, slots=True)
class Bid(Document):
    """The client's request to buy, which is the lease's full text: countersigned, the same bytes are the lease.

    `head.parent` is the offer's id. The price sheet is frozen here; `cap` is the most that the lease can cost;
    `window` the most unpaid work; `record` the node record whose sealing key job bodies are for.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.bid.v1+protobuf"

    sheet: PriceSheet
    bid_class: BidClass
    cap: f.PositiveAmount
    window: f.PositiveAmount
    notice_ms: Annotated[int, f.Range(0, limits.NOTICE_MAX_MS)]
    idle_limit_ms: Annotated[int, f.Range(1, limits.IDLE_LIMIT_MAX_MS)]
    ledger: f.Did
    accept_by_ms: f.TimeMs
    lease_expires_at_ms: f.TimeMs
    margin_ms: Annotated[int, f.Range(limits.MARGIN_MIN_MS, limits.LEASE_MAX_MS)]
    worker_image: f.Digest
    record: f.Digest


@dataclass(frozen=True, slots=True)
class Terms:
    """What the provider would accept instead: a bid with these terms, before the decline expires, meets no objection.

    `offer` and `record` are what such a bid names; `wait_ms` is how long it would wait for its turn. All of it holds as
    long as others do not take the place.
    """

    sheet: PriceSheet
    window_max: f.Amount
    limits: JobLimits
    bid_class: BidClass = BidClass.ON_DEMAND
    notice_ms: Annotated[int, f.Range(0, limits.NOTICE_MAX_MS)] = 0
    cap_max: f.Amount = 0
    lease_max_ms: f.Count = 0
    wait_ms: f.Count = 0
    offer: f.MaybeDigest = b""
    record: f.MaybeDigest = b""


@dataclass(frozen=True, slots=True)
class Decline(Document):
    """A signed refusal of a bid, a job or a ledger instruction: every reason, and what would pass."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.decline.v1+protobuf"

    reasons: Reasons
    would_accept: Terms | None = None
