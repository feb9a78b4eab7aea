from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReasonCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_CODE_UNSPECIFIED: _ClassVar[ReasonCode]
    REASON_CODE_OFFER_UNKNOWN: _ClassVar[ReasonCode]
    REASON_CODE_OFFER_SUPERSEDED: _ClassVar[ReasonCode]
    REASON_CODE_PRICE_TOO_LOW: _ClassVar[ReasonCode]
    REASON_CODE_CLASS_NOT_SOLD: _ClassVar[ReasonCode]
    REASON_CODE_CAP_TOO_HIGH: _ClassVar[ReasonCode]
    REASON_CODE_WINDOW_TOO_LARGE: _ClassVar[ReasonCode]
    REASON_CODE_WINDOW_TOO_SMALL: _ClassVar[ReasonCode]
    REASON_CODE_LEDGER_NOT_ACCEPTED: _ClassVar[ReasonCode]
    REASON_CODE_EXPIRY_TOO_LATE: _ClassVar[ReasonCode]
    REASON_CODE_MARGIN_TOO_SHORT: _ClassVar[ReasonCode]
    REASON_CODE_TOO_MANY_LEASES: _ClassVar[ReasonCode]
    REASON_CODE_PAUSED: _ClassVar[ReasonCode]
    REASON_CODE_DRAINING: _ClassVar[ReasonCode]
    REASON_CODE_QUEUE_FULL: _ClassVar[ReasonCode]
    REASON_CODE_MODEL_NOT_OFFERED: _ClassVar[ReasonCode]
    REASON_CODE_MODEL_REFUSED: _ClassVar[ReasonCode]
    REASON_CODE_IMAGE_NOT_OFFERED: _ClassVar[ReasonCode]
    REASON_CODE_TASK_NOT_OFFERED: _ClassVar[ReasonCode]
    REASON_CODE_SIZE_TOO_LARGE: _ClassVar[ReasonCode]
    REASON_CODE_SIZE_NOT_SUPPORTED: _ClassVar[ReasonCode]
    REASON_CODE_STEPS_TOO_MANY: _ClassVar[ReasonCode]
    REASON_CODE_COUNT_TOO_LARGE: _ClassVar[ReasonCode]
    REASON_CODE_MEMORY_SHORT: _ClassVar[ReasonCode]
    REASON_CODE_ADAPTERS_NOT_OFFERED: _ClassVar[ReasonCode]
    REASON_CODE_PRECISION_NOT_OFFERED: _ClassVar[ReasonCode]
    REASON_CODE_DEADLINE_TOO_SHORT: _ClassVar[ReasonCode]
    REASON_CODE_PRICE_ABOVE_CAP: _ClassVar[ReasonCode]
    REASON_CODE_NOT_FUNDED: _ClassVar[ReasonCode]
    REASON_CODE_LEASE_CLOSED: _ClassVar[ReasonCode]
    REASON_CODE_JOBS_IN_FLIGHT: _ClassVar[ReasonCode]
    REASON_CODE_UNPAID: _ClassVar[ReasonCode]
    REASON_CODE_BODY_WRONG: _ClassVar[ReasonCode]
    REASON_CODE_WORKER_FAILED: _ClassVar[ReasonCode]
    REASON_CODE_WORKER_GONE: _ClassVar[ReasonCode]
    REASON_CODE_DISK_SHORT: _ClassVar[ReasonCode]
    REASON_CODE_UNSECURED_LIMIT: _ClassVar[ReasonCode]
    REASON_CODE_CANCELLED: _ClassVar[ReasonCode]
    REASON_CODE_EXPIRED: _ClassVar[ReasonCode]
    REASON_CODE_RECLAIMED: _ClassVar[ReasonCode]
    REASON_CODE_RESTARTED: _ClassVar[ReasonCode]
    REASON_CODE_FUNDS_SHORT: _ClassVar[ReasonCode]
    REASON_CODE_HOLD_UNKNOWN: _ClassVar[ReasonCode]
    REASON_CODE_HOLD_CLOSED: _ClassVar[ReasonCode]
    REASON_CODE_HOLD_EXISTS: _ClassVar[ReasonCode]
    REASON_CODE_VOUCHER_WRONG: _ClassVar[ReasonCode]
    REASON_CODE_NOT_ENTITLED: _ClassVar[ReasonCode]
    REASON_CODE_ACCOUNT_UNKNOWN: _ClassVar[ReasonCode]
    REASON_CODE_PROVIDER_REFUSED: _ClassVar[ReasonCode]
    REASON_CODE_SCHEDULER_NOT_OFFERED: _ClassVar[ReasonCode]
    REASON_CODE_NOTICE_NOT_OFFERED: _ClassVar[ReasonCode]
    REASON_CODE_GPU_MISSING: _ClassVar[ReasonCode]
    REASON_CODE_REFERENCE_USED: _ClassVar[ReasonCode]
    REASON_CODE_LIMIT: _ClassVar[ReasonCode]
    REASON_CODE_INPUT_WRONG: _ClassVar[ReasonCode]
    REASON_CODE_AUDIT_FAILED: _ClassVar[ReasonCode]
    REASON_CODE_PREEMPTED: _ClassVar[ReasonCode]
    REASON_CODE_RESERVED: _ClassVar[ReasonCode]
    REASON_CODE_CHECKPOINT_WRONG: _ClassVar[ReasonCode]
    REASON_CODE_BANNED: _ClassVar[ReasonCode]
    REASON_CODE_LOST: _ClassVar[ReasonCode]
    REASON_CODE_FILTERED: _ClassVar[ReasonCode]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_PROVIDER: _ClassVar[Role]
    ROLE_DIRECTORY: _ClassVar[Role]
    ROLE_LEDGER: _ClassVar[Role]

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    TASK_TEXT_TO_IMAGE: _ClassVar[Task]
    TASK_IMAGE_TO_IMAGE: _ClassVar[Task]
    TASK_INPAINT: _ClassVar[Task]

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_ABSENT: _ClassVar[ModelState]
    MODEL_STATE_CACHED: _ClassVar[ModelState]
    MODEL_STATE_WARM: _ClassVar[ModelState]

class Isolation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ISOLATION_UNSPECIFIED: _ClassVar[Isolation]
    ISOLATION_NONE: _ClassVar[Isolation]
    ISOLATION_CONTAINER: _ClassVar[Isolation]
    ISOLATION_GVISOR: _ClassVar[Isolation]

class BidClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BID_CLASS_UNSPECIFIED: _ClassVar[BidClass]
    BID_CLASS_ON_DEMAND: _ClassVar[BidClass]
    BID_CLASS_INTERRUPTIBLE: _ClassVar[BidClass]
    BID_CLASS_RESERVED: _ClassVar[BidClass]

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRECISION_UNSPECIFIED: _ClassVar[Precision]
    PRECISION_EXACT: _ClassVar[Precision]
    PRECISION_HALF: _ClassVar[Precision]
    PRECISION_SINGLE: _ClassVar[Precision]

class Scheduler(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCHEDULER_UNSPECIFIED: _ClassVar[Scheduler]
    SCHEDULER_DDIM: _ClassVar[Scheduler]
    SCHEDULER_EULER: _ClassVar[Scheduler]
    SCHEDULER_EULER_ANCESTRAL: _ClassVar[Scheduler]
    SCHEDULER_DPMPP_2M: _ClassVar[Scheduler]
    SCHEDULER_UNIPC: _ClassVar[Scheduler]
    SCHEDULER_LCM: _ClassVar[Scheduler]
    SCHEDULER_OWN: _ClassVar[Scheduler]

class InputKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INPUT_KIND_UNSPECIFIED: _ClassVar[InputKind]
    INPUT_KIND_IMAGE: _ClassVar[InputKind]
    INPUT_KIND_MASK: _ClassVar[InputKind]
    INPUT_KIND_STATE: _ClassVar[InputKind]

class Goods(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOODS_UNSPECIFIED: _ClassVar[Goods]
    GOODS_PICTURE: _ClassVar[Goods]
    GOODS_CHECKPOINT: _ClassVar[Goods]

class Aead(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AEAD_UNSPECIFIED: _ClassVar[Aead]
    AEAD_AES_256_GCM: _ClassVar[Aead]

class Check(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECK_UNSPECIFIED: _ClassVar[Check]
    CHECK_PROOFS: _ClassVar[Check]
    CHECK_START: _ClassVar[Check]
    CHECK_STEP: _ClassVar[Check]
    CHECK_PICTURE: _ClassVar[Check]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_PASSED: _ClassVar[Verdict]
    VERDICT_FAILED: _ClassVar[Verdict]
    VERDICT_UNANSWERED: _ClassVar[Verdict]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_DELIVERED: _ClassVar[Outcome]
    OUTCOME_REJECTED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_CANCELLED: _ClassVar[Outcome]
    OUTCOME_RECLAIMED: _ClassVar[Outcome]
    OUTCOME_PREEMPTED: _ClassVar[Outcome]
    OUTCOME_EXPIRED: _ClassVar[Outcome]
    OUTCOME_DRAINED: _ClassVar[Outcome]

class Crime(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CRIME_UNSPECIFIED: _ClassVar[Crime]
    CRIME_TWO_BROADCASTS: _ClassVar[Crime]
    CRIME_NOISE: _ClassVar[Crime]
    CRIME_TWO_HEADS: _ClassVar[Crime]
    CRIME_FAILED_AUDIT: _ClassVar[Crime]
    CRIME_FALSE_LEAF: _ClassVar[Crime]

class QueryKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUERY_KIND_UNSPECIFIED: _ClassVar[QueryKind]
    QUERY_KIND_BALANCE: _ClassVar[QueryKind]
    QUERY_KIND_STATEMENT: _ClassVar[QueryKind]
    QUERY_KIND_JOURNAL: _ClassVar[QueryKind]
    QUERY_KIND_HOLD: _ClassVar[QueryKind]

class Bucket(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUCKET_UNSPECIFIED: _ClassVar[Bucket]
    BUCKET_ISSUED: _ClassVar[Bucket]
    BUCKET_AVAILABLE: _ClassVar[Bucket]
    BUCKET_HELD: _ClassVar[Bucket]

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_ISSUED: _ClassVar[EventKind]
    EVENT_KIND_REDEEMED: _ClassVar[EventKind]
    EVENT_KIND_PAID: _ClassVar[EventKind]
    EVENT_KIND_HELD: _ClassVar[EventKind]
    EVENT_KIND_CAPTURED: _ClassVar[EventKind]
    EVENT_KIND_EXPIRED: _ClassVar[EventKind]
REASON_CODE_UNSPECIFIED: ReasonCode
REASON_CODE_OFFER_UNKNOWN: ReasonCode
REASON_CODE_OFFER_SUPERSEDED: ReasonCode
REASON_CODE_PRICE_TOO_LOW: ReasonCode
REASON_CODE_CLASS_NOT_SOLD: ReasonCode
REASON_CODE_CAP_TOO_HIGH: ReasonCode
REASON_CODE_WINDOW_TOO_LARGE: ReasonCode
REASON_CODE_WINDOW_TOO_SMALL: ReasonCode
REASON_CODE_LEDGER_NOT_ACCEPTED: ReasonCode
REASON_CODE_EXPIRY_TOO_LATE: ReasonCode
REASON_CODE_MARGIN_TOO_SHORT: ReasonCode
REASON_CODE_TOO_MANY_LEASES: ReasonCode
REASON_CODE_PAUSED: ReasonCode
REASON_CODE_DRAINING: ReasonCode
REASON_CODE_QUEUE_FULL: ReasonCode
REASON_CODE_MODEL_NOT_OFFERED: ReasonCode
REASON_CODE_MODEL_REFUSED: ReasonCode
REASON_CODE_IMAGE_NOT_OFFERED: ReasonCode
REASON_CODE_TASK_NOT_OFFERED: ReasonCode
REASON_CODE_SIZE_TOO_LARGE: ReasonCode
REASON_CODE_SIZE_NOT_SUPPORTED: ReasonCode
REASON_CODE_STEPS_TOO_MANY: ReasonCode
REASON_CODE_COUNT_TOO_LARGE: ReasonCode
REASON_CODE_MEMORY_SHORT: ReasonCode
REASON_CODE_ADAPTERS_NOT_OFFERED: ReasonCode
REASON_CODE_PRECISION_NOT_OFFERED: ReasonCode
REASON_CODE_DEADLINE_TOO_SHORT: ReasonCode
REASON_CODE_PRICE_ABOVE_CAP: ReasonCode
REASON_CODE_NOT_FUNDED: ReasonCode
REASON_CODE_LEASE_CLOSED: ReasonCode
REASON_CODE_JOBS_IN_FLIGHT: ReasonCode
REASON_CODE_UNPAID: ReasonCode
REASON_CODE_BODY_WRONG: ReasonCode
REASON_CODE_WORKER_FAILED: ReasonCode
REASON_CODE_WORKER_GONE: ReasonCode
REASON_CODE_DISK_SHORT: ReasonCode
REASON_CODE_UNSECURED_LIMIT: ReasonCode
REASON_CODE_CANCELLED: ReasonCode
REASON_CODE_EXPIRED: ReasonCode
REASON_CODE_RECLAIMED: ReasonCode
REASON_CODE_RESTARTED: ReasonCode
REASON_CODE_FUNDS_SHORT: ReasonCode
REASON_CODE_HOLD_UNKNOWN: ReasonCode
REASON_CODE_HOLD_CLOSED: ReasonCode
REASON_CODE_HOLD_EXISTS: ReasonCode
REASON_CODE_VOUCHER_WRONG: ReasonCode
REASON_CODE_NOT_ENTITLED: ReasonCode
REASON_CODE_ACCOUNT_UNKNOWN: ReasonCode
REASON_CODE_PROVIDER_REFUSED: ReasonCode
REASON_CODE_SCHEDULER_NOT_OFFERED: ReasonCode
REASON_CODE_NOTICE_NOT_OFFERED: ReasonCode
REASON_CODE_GPU_MISSING: ReasonCode
REASON_CODE_REFERENCE_USED: ReasonCode
REASON_CODE_LIMIT: ReasonCode
REASON_CODE_INPUT_WRONG: ReasonCode
REASON_CODE_AUDIT_FAILED: ReasonCode
REASON_CODE_PREEMPTED: ReasonCode
REASON_CODE_RESERVED: ReasonCode
REASON_CODE_CHECKPOINT_WRONG: ReasonCode
REASON_CODE_BANNED: ReasonCode
REASON_CODE_LOST: ReasonCode
REASON_CODE_FILTERED: ReasonCode
ROLE_UNSPECIFIED: Role
ROLE_PROVIDER: Role
ROLE_DIRECTORY: Role
ROLE_LEDGER: Role
TASK_UNSPECIFIED: Task
TASK_TEXT_TO_IMAGE: Task
TASK_IMAGE_TO_IMAGE: Task
TASK_INPAINT: Task
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_ABSENT: ModelState
MODEL_STATE_CACHED: ModelState
MODEL_STATE_WARM: ModelState
ISOLATION_UNSPECIFIED: Isolation
ISOLATION_NONE: Isolation
ISOLATION_CONTAINER: Isolation
ISOLATION_GVISOR: Isolation
BID_CLASS_UNSPECIFIED: BidClass
BID_CLASS_ON_DEMAND: BidClass
BID_CLASS_INTERRUPTIBLE: BidClass
BID_CLASS_RESERVED: BidClass
PRECISION_UNSPECIFIED: Precision
PRECISION_EXACT: Precision
PRECISION_HALF: Precision
PRECISION_SINGLE: Precision
SCHEDULER_UNSPECIFIED: Scheduler
SCHEDULER_DDIM: Scheduler
SCHEDULER_EULER: Scheduler
SCHEDULER_EULER_ANCESTRAL: Scheduler
SCHEDULER_DPMPP_2M: Scheduler
SCHEDULER_UNIPC: Scheduler
SCHEDULER_LCM: Scheduler
SCHEDULER_OWN: Scheduler
INPUT_KIND_UNSPECIFIED: InputKind
INPUT_KIND_IMAGE: InputKind
INPUT_KIND_MASK: InputKind
INPUT_KIND_STATE: InputKind
GOODS_UNSPECIFIED: Goods
GOODS_PICTURE: Goods
GOODS_CHECKPOINT: Goods
AEAD_UNSPECIFIED: Aead
AEAD_AES_256_GCM: Aead
CHECK_UNSPECIFIED: Check
CHECK_PROOFS: Check
CHECK_START: Check
CHECK_STEP: Check
CHECK_PICTURE: Check
VERDICT_UNSPECIFIED: Verdict
VERDICT_PASSED: Verdict
VERDICT_FAILED: Verdict
VERDICT_UNANSWERED: Verdict
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_DELIVERED: Outcome
OUTCOME_REJECTED: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_CANCELLED: Outcome
OUTCOME_RECLAIMED: Outcome
OUTCOME_PREEMPTED: Outcome
OUTCOME_EXPIRED: Outcome
OUTCOME_DRAINED: Outcome
CRIME_UNSPECIFIED: Crime
CRIME_TWO_BROADCASTS: Crime
CRIME_NOISE: Crime
CRIME_TWO_HEADS: Crime
CRIME_FAILED_AUDIT: Crime
CRIME_FALSE_LEAF: Crime
QUERY_KIND_UNSPECIFIED: QueryKind
QUERY_KIND_BALANCE: QueryKind
QUERY_KIND_STATEMENT: QueryKind
QUERY_KIND_JOURNAL: QueryKind
QUERY_KIND_HOLD: QueryKind
BUCKET_UNSPECIFIED: Bucket
BUCKET_ISSUED: Bucket
BUCKET_AVAILABLE: Bucket
BUCKET_HELD: Bucket
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_ISSUED: EventKind
EVENT_KIND_REDEEMED: EventKind
EVENT_KIND_PAID: EventKind
EVENT_KIND_HELD: EventKind
EVENT_KIND_CAPTURED: EventKind
EVENT_KIND_EXPIRED: EventKind

class Head(_message.Message):
    __slots__ = ("issuer", "audience", "id", "issued_at_ms", "expires_at_ms", "parent")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    audience: _containers.RepeatedScalarFieldContainer[str]
    id: bytes
    issued_at_ms: int
    expires_at_ms: int
    parent: bytes
    def __init__(self, issuer: _Optional[str] = ..., audience: _Optional[_Iterable[str]] = ..., id: _Optional[bytes] = ..., issued_at_ms: _Optional[int] = ..., expires_at_ms: _Optional[int] = ..., parent: _Optional[bytes] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("keyid", "sig")
    KEYID_FIELD_NUMBER: _ClassVar[int]
    SIG_FIELD_NUMBER: _ClassVar[int]
    keyid: str
    sig: bytes
    def __init__(self, keyid: _Optional[str] = ..., sig: _Optional[bytes] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("payload", "payload_type", "signatures")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    payload_type: str
    signatures: _containers.RepeatedCompositeFieldContainer[Signature]
    def __init__(self, payload: _Optional[bytes] = ..., payload_type: _Optional[str] = ..., signatures: _Optional[_Iterable[_Union[Signature, _Mapping]]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("code", "wanted", "limit", "unit", "detail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    code: ReasonCode
    wanted: int
    limit: int
    unit: str
    detail: str
    def __init__(self, code: _Optional[_Union[ReasonCode, str]] = ..., wanted: _Optional[int] = ..., limit: _Optional[int] = ..., unit: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class NodeRecord(_message.Message):
    __slots__ = ("head", "sequence", "roles", "endpoints", "tls_certificate", "sealing_key", "software")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    TLS_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SEALING_KEY_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    head: Head
    sequence: int
    roles: _containers.RepeatedScalarFieldContainer[Role]
    endpoints: _containers.RepeatedScalarFieldContainer[str]
    tls_certificate: bytes
    sealing_key: bytes
    software: str
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., sequence: _Optional[int] = ..., roles: _Optional[_Iterable[_Union[Role, str]]] = ..., endpoints: _Optional[_Iterable[str]] = ..., tls_certificate: _Optional[bytes] = ..., sealing_key: _Optional[bytes] = ..., software: _Optional[str] = ...) -> None: ...

class PriceSheet(_message.Message):
    __slots__ = ("model", "per_step_megapixel", "per_decoded_megapixel", "per_cold_load", "per_adapter", "minimum", "per_reserved_second")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PER_STEP_MEGAPIXEL_FIELD_NUMBER: _ClassVar[int]
    PER_DECODED_MEGAPIXEL_FIELD_NUMBER: _ClassVar[int]
    PER_COLD_LOAD_FIELD_NUMBER: _ClassVar[int]
    PER_ADAPTER_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    PER_RESERVED_SECOND_FIELD_NUMBER: _ClassVar[int]
    model: bytes
    per_step_megapixel: int
    per_decoded_megapixel: int
    per_cold_load: int
    per_adapter: int
    minimum: int
    per_reserved_second: int
    def __init__(self, model: _Optional[bytes] = ..., per_step_megapixel: _Optional[int] = ..., per_decoded_megapixel: _Optional[int] = ..., per_cold_load: _Optional[int] = ..., per_adapter: _Optional[int] = ..., minimum: _Optional[int] = ..., per_reserved_second: _Optional[int] = ...) -> None: ...

class Speed(_message.Message):
    __slots__ = ("step_megapixel_us", "decoded_megapixel_us", "load_us")
    STEP_MEGAPIXEL_US_FIELD_NUMBER: _ClassVar[int]
    DECODED_MEGAPIXEL_US_FIELD_NUMBER: _ClassVar[int]
    LOAD_US_FIELD_NUMBER: _ClassVar[int]
    step_megapixel_us: int
    decoded_megapixel_us: int
    load_us: int
    def __init__(self, step_megapixel_us: _Optional[int] = ..., decoded_megapixel_us: _Optional[int] = ..., load_us: _Optional[int] = ...) -> None: ...

class ModelOffer(_message.Message):
    __slots__ = ("digest", "name", "family", "licence", "state", "sheet", "tasks", "schedulers", "speed")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHEET_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULERS_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    name: str
    family: str
    licence: str
    state: ModelState
    sheet: PriceSheet
    tasks: _containers.RepeatedScalarFieldContainer[Task]
    schedulers: _containers.RepeatedScalarFieldContainer[Scheduler]
    speed: Speed
    def __init__(self, digest: _Optional[bytes] = ..., name: _Optional[str] = ..., family: _Optional[str] = ..., licence: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., sheet: _Optional[_Union[PriceSheet, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[Task, str]]] = ..., schedulers: _Optional[_Iterable[_Union[Scheduler, str]]] = ..., speed: _Optional[_Union[Speed, _Mapping]] = ...) -> None: ...

class AdapterOffer(_message.Message):
    __slots__ = ("digest", "name", "licence", "models")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    name: str
    licence: str
    models: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, digest: _Optional[bytes] = ..., name: _Optional[str] = ..., licence: _Optional[str] = ..., models: _Optional[_Iterable[bytes]] = ...) -> None: ...

class WorkerImage(_message.Message):
    __slots__ = ("digest", "name")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    name: str
    def __init__(self, digest: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class Gpu(_message.Message):
    __slots__ = ("name", "memory_bytes", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    memory_bytes: int
    count: int
    def __init__(self, name: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class LedgerRef(_message.Message):
    __slots__ = ("did", "endpoint")
    DID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    did: str
    endpoint: str
    def __init__(self, did: _Optional[str] = ..., endpoint: _Optional[str] = ...) -> None: ...

class JobLimits(_message.Message):
    __slots__ = ("pixels", "steps", "count", "memory_bytes")
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    pixels: int
    steps: int
    count: int
    memory_bytes: int
    def __init__(self, pixels: _Optional[int] = ..., steps: _Optional[int] = ..., count: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("head", "sequence", "record", "gpus", "cpu_cores", "memory_bytes", "tasks", "schedulers", "precisions", "classes", "models", "worker_images", "ledgers", "isolation", "profiles", "limits", "window_max", "queue_free", "region", "adapters", "floor_milli", "notice_max_ms", "notice_discount_milli", "queue_ms", "traces_bytes")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULERS_FIELD_NUMBER: _ClassVar[int]
    PRECISIONS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    WORKER_IMAGES_FIELD_NUMBER: _ClassVar[int]
    LEDGERS_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MAX_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FREE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_MILLI_FIELD_NUMBER: _ClassVar[int]
    NOTICE_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    NOTICE_DISCOUNT_MILLI_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    TRACES_BYTES_FIELD_NUMBER: _ClassVar[int]
    head: Head
    sequence: int
    record: bytes
    gpus: _containers.RepeatedCompositeFieldContainer[Gpu]
    cpu_cores: int
    memory_bytes: int
    tasks: _containers.RepeatedScalarFieldContainer[Task]
    schedulers: _containers.RepeatedScalarFieldContainer[Scheduler]
    precisions: _containers.RepeatedScalarFieldContainer[Precision]
    classes: _containers.RepeatedScalarFieldContainer[BidClass]
    models: _containers.RepeatedCompositeFieldContainer[ModelOffer]
    worker_images: _containers.RepeatedCompositeFieldContainer[WorkerImage]
    ledgers: _containers.RepeatedCompositeFieldContainer[LedgerRef]
    isolation: Isolation
    profiles: _containers.RepeatedScalarFieldContainer[bytes]
    limits: JobLimits
    window_max: int
    queue_free: int
    region: str
    adapters: _containers.RepeatedCompositeFieldContainer[AdapterOffer]
    floor_milli: int
    notice_max_ms: int
    notice_discount_milli: int
    queue_ms: int
    traces_bytes: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., sequence: _Optional[int] = ..., record: _Optional[bytes] = ..., gpus: _Optional[_Iterable[_Union[Gpu, _Mapping]]] = ..., cpu_cores: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., tasks: _Optional[_Iterable[_Union[Task, str]]] = ..., schedulers: _Optional[_Iterable[_Union[Scheduler, str]]] = ..., precisions: _Optional[_Iterable[_Union[Precision, str]]] = ..., classes: _Optional[_Iterable[_Union[BidClass, str]]] = ..., models: _Optional[_Iterable[_Union[ModelOffer, _Mapping]]] = ..., worker_images: _Optional[_Iterable[_Union[WorkerImage, _Mapping]]] = ..., ledgers: _Optional[_Iterable[_Union[LedgerRef, _Mapping]]] = ..., isolation: _Optional[_Union[Isolation, str]] = ..., profiles: _Optional[_Iterable[bytes]] = ..., limits: _Optional[_Union[JobLimits, _Mapping]] = ..., window_max: _Optional[int] = ..., queue_free: _Optional[int] = ..., region: _Optional[str] = ..., adapters: _Optional[_Iterable[_Union[AdapterOffer, _Mapping]]] = ..., floor_milli: _Optional[int] = ..., notice_max_ms: _Optional[int] = ..., notice_discount_milli: _Optional[int] = ..., queue_ms: _Optional[int] = ..., traces_bytes: _Optional[int] = ...) -> None: ...

class Bid(_message.Message):
    __slots__ = ("head", "sheet", "bid_class", "cap", "window", "notice_ms", "idle_limit_ms", "ledger", "accept_by_ms", "lease_expires_at_ms", "margin_ms", "worker_image", "record")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    SHEET_FIELD_NUMBER: _ClassVar[int]
    BID_CLASS_FIELD_NUMBER: _ClassVar[int]
    CAP_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    NOTICE_MS_FIELD_NUMBER: _ClassVar[int]
    IDLE_LIMIT_MS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_BY_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    MARGIN_MS_FIELD_NUMBER: _ClassVar[int]
    WORKER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    head: Head
    sheet: PriceSheet
    bid_class: BidClass
    cap: int
    window: int
    notice_ms: int
    idle_limit_ms: int
    ledger: str
    accept_by_ms: int
    lease_expires_at_ms: int
    margin_ms: int
    worker_image: bytes
    record: bytes
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., sheet: _Optional[_Union[PriceSheet, _Mapping]] = ..., bid_class: _Optional[_Union[BidClass, str]] = ..., cap: _Optional[int] = ..., window: _Optional[int] = ..., notice_ms: _Optional[int] = ..., idle_limit_ms: _Optional[int] = ..., ledger: _Optional[str] = ..., accept_by_ms: _Optional[int] = ..., lease_expires_at_ms: _Optional[int] = ..., margin_ms: _Optional[int] = ..., worker_image: _Optional[bytes] = ..., record: _Optional[bytes] = ...) -> None: ...

class Terms(_message.Message):
    __slots__ = ("sheet", "window_max", "limits", "bid_class", "notice_ms", "cap_max", "lease_max_ms", "wait_ms", "offer", "record")
    SHEET_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MAX_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    BID_CLASS_FIELD_NUMBER: _ClassVar[int]
    NOTICE_MS_FIELD_NUMBER: _ClassVar[int]
    CAP_MAX_FIELD_NUMBER: _ClassVar[int]
    LEASE_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    sheet: PriceSheet
    window_max: int
    limits: JobLimits
    bid_class: BidClass
    notice_ms: int
    cap_max: int
    lease_max_ms: int
    wait_ms: int
    offer: bytes
    record: bytes
    def __init__(self, sheet: _Optional[_Union[PriceSheet, _Mapping]] = ..., window_max: _Optional[int] = ..., limits: _Optional[_Union[JobLimits, _Mapping]] = ..., bid_class: _Optional[_Union[BidClass, str]] = ..., notice_ms: _Optional[int] = ..., cap_max: _Optional[int] = ..., lease_max_ms: _Optional[int] = ..., wait_ms: _Optional[int] = ..., offer: _Optional[bytes] = ..., record: _Optional[bytes] = ...) -> None: ...

class Decline(_message.Message):
    __slots__ = ("head", "reasons", "would_accept")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    WOULD_ACCEPT_FIELD_NUMBER: _ClassVar[int]
    head: Head
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    would_accept: Terms
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., would_accept: _Optional[_Union[Terms, _Mapping]] = ...) -> None: ...

class Adapter(_message.Message):
    __slots__ = ("digest", "weight_milli")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_MILLI_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    weight_milli: int
    def __init__(self, digest: _Optional[bytes] = ..., weight_milli: _Optional[int] = ...) -> None: ...

class Spec(_message.Message):
    __slots__ = ("task", "model", "scheduler", "precision", "width", "height", "steps", "count", "guided", "adapters", "skip", "done")
    TASK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    GUIDED_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    task: Task
    model: bytes
    scheduler: Scheduler
    precision: Precision
    width: int
    height: int
    steps: int
    count: int
    guided: bool
    adapters: _containers.RepeatedCompositeFieldContainer[Adapter]
    skip: int
    done: int
    def __init__(self, task: _Optional[_Union[Task, str]] = ..., model: _Optional[bytes] = ..., scheduler: _Optional[_Union[Scheduler, str]] = ..., precision: _Optional[_Union[Precision, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., steps: _Optional[int] = ..., count: _Optional[int] = ..., guided: _Optional[bool] = ..., adapters: _Optional[_Iterable[_Union[Adapter, _Mapping]]] = ..., skip: _Optional[int] = ..., done: _Optional[int] = ...) -> None: ...

class JobHeader(_message.Message):
    __slots__ = ("head", "lease", "job", "spec", "worker_image", "body_sha256", "audit_commitment", "deadline_ms", "memory_bytes", "preview_every", "checkpoint", "body_length", "plain_sha256", "checkpoint_every")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    WORKER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    BODY_SHA256_FIELD_NUMBER: _ClassVar[int]
    AUDIT_COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_EVERY_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    BODY_LENGTH_FIELD_NUMBER: _ClassVar[int]
    PLAIN_SHA256_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_EVERY_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    job: bytes
    spec: Spec
    worker_image: bytes
    body_sha256: bytes
    audit_commitment: bytes
    deadline_ms: int
    memory_bytes: int
    preview_every: int
    checkpoint: bytes
    body_length: int
    plain_sha256: bytes
    checkpoint_every: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., job: _Optional[bytes] = ..., spec: _Optional[_Union[Spec, _Mapping]] = ..., worker_image: _Optional[bytes] = ..., body_sha256: _Optional[bytes] = ..., audit_commitment: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., preview_every: _Optional[int] = ..., checkpoint: _Optional[bytes] = ..., body_length: _Optional[int] = ..., plain_sha256: _Optional[bytes] = ..., checkpoint_every: _Optional[int] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("kind", "data")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    kind: InputKind
    data: bytes
    def __init__(self, kind: _Optional[_Union[InputKind, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class JobBody(_message.Message):
    __slots__ = ("salt", "prompt", "negative_prompt", "seed", "guidance_milli", "inputs")
    SALT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_MILLI_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    salt: bytes
    prompt: str
    negative_prompt: str
    seed: int
    guidance_milli: int
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    def __init__(self, salt: _Optional[bytes] = ..., prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., seed: _Optional[int] = ..., guidance_milli: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ...) -> None: ...

class JobAcceptance(_message.Message):
    __slots__ = ("head", "lease", "job", "attempt", "upfront", "total")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    UPFRONT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    job: bytes
    attempt: bytes
    upfront: int
    total: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., job: _Optional[bytes] = ..., attempt: _Optional[bytes] = ..., upfront: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("head", "lease", "job", "attempt", "goods", "picture", "first_step", "last_step", "cipher_sha256", "cipher_length", "plain_sha256", "plain_length", "hashlock", "aead", "increment", "total_due", "trace_root", "leaf_count", "profile", "spec")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GOODS_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    CIPHER_SHA256_FIELD_NUMBER: _ClassVar[int]
    CIPHER_LENGTH_FIELD_NUMBER: _ClassVar[int]
    PLAIN_SHA256_FIELD_NUMBER: _ClassVar[int]
    PLAIN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    HASHLOCK_FIELD_NUMBER: _ClassVar[int]
    AEAD_FIELD_NUMBER: _ClassVar[int]
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_DUE_FIELD_NUMBER: _ClassVar[int]
    TRACE_ROOT_FIELD_NUMBER: _ClassVar[int]
    LEAF_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    job: bytes
    attempt: bytes
    goods: Goods
    picture: int
    first_step: int
    last_step: int
    cipher_sha256: bytes
    cipher_length: int
    plain_sha256: bytes
    plain_length: int
    hashlock: bytes
    aead: Aead
    increment: int
    total_due: int
    trace_root: bytes
    leaf_count: int
    profile: bytes
    spec: Spec
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., job: _Optional[bytes] = ..., attempt: _Optional[bytes] = ..., goods: _Optional[_Union[Goods, str]] = ..., picture: _Optional[int] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., cipher_sha256: _Optional[bytes] = ..., cipher_length: _Optional[int] = ..., plain_sha256: _Optional[bytes] = ..., plain_length: _Optional[int] = ..., hashlock: _Optional[bytes] = ..., aead: _Optional[_Union[Aead, str]] = ..., increment: _Optional[int] = ..., total_due: _Optional[int] = ..., trace_root: _Optional[bytes] = ..., leaf_count: _Optional[int] = ..., profile: _Optional[bytes] = ..., spec: _Optional[_Union[Spec, _Mapping]] = ...) -> None: ...

class StreamOpen(_message.Message):
    __slots__ = ("head", "lease", "challenge", "certificate_sha256")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    challenge: bytes
    certificate_sha256: bytes
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., challenge: _Optional[bytes] = ..., certificate_sha256: _Optional[bytes] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("head", "lease", "job")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    job: bytes
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., job: _Optional[bytes] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("head", "lease")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ...) -> None: ...

class Fetch(_message.Message):
    __slots__ = ("head", "lease", "job", "picture", "step")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    job: bytes
    picture: int
    step: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., job: _Optional[bytes] = ..., picture: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("python", "torch", "diffusers", "transformers", "wheel", "device_kind", "device_name", "dtype", "flags")
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    TORCH_FIELD_NUMBER: _ClassVar[int]
    DIFFUSERS_FIELD_NUMBER: _ClassVar[int]
    TRANSFORMERS_FIELD_NUMBER: _ClassVar[int]
    WHEEL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KIND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    python: str
    torch: str
    diffusers: str
    transformers: str
    wheel: str
    device_kind: str
    device_name: str
    dtype: str
    flags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, python: _Optional[str] = ..., torch: _Optional[str] = ..., diffusers: _Optional[str] = ..., transformers: _Optional[str] = ..., wheel: _Optional[str] = ..., device_kind: _Optional[str] = ..., device_name: _Optional[str] = ..., dtype: _Optional[str] = ..., flags: _Optional[_Iterable[str]] = ...) -> None: ...

class Audit(_message.Message):
    __slots__ = ("head", "lease", "job", "picture", "nonce")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    job: bytes
    picture: int
    nonce: bytes
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., job: _Optional[bytes] = ..., picture: _Optional[int] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class Opening(_message.Message):
    __slots__ = ("step", "length", "leaf", "path")
    STEP_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    step: int
    length: int
    leaf: bytes
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, step: _Optional[int] = ..., length: _Optional[int] = ..., leaf: _Optional[bytes] = ..., path: _Optional[_Iterable[bytes]] = ...) -> None: ...

class AuditAnswer(_message.Message):
    __slots__ = ("head", "lease", "job", "picture", "step", "profile", "openings")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    OPENINGS_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    job: bytes
    picture: int
    step: int
    profile: Profile
    openings: _containers.RepeatedCompositeFieldContainer[Opening]
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., job: _Optional[bytes] = ..., picture: _Optional[int] = ..., step: _Optional[int] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ..., openings: _Optional[_Iterable[_Union[Opening, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("check", "holds", "measured_nano", "limit_nano", "detail")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_NANO_FIELD_NUMBER: _ClassVar[int]
    LIMIT_NANO_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    check: Check
    holds: bool
    measured_nano: int
    limit_nano: int
    detail: str
    def __init__(self, check: _Optional[_Union[Check, str]] = ..., holds: _Optional[bool] = ..., measured_nano: _Optional[int] = ..., limit_nano: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class AuditReport(_message.Message):
    __slots__ = ("head", "receipt", "step", "verdict", "findings", "provider_profile", "verifier")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_PROFILE_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    head: Head
    receipt: bytes
    step: int
    verdict: Verdict
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    provider_profile: bytes
    verifier: Profile
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., receipt: _Optional[bytes] = ..., step: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., provider_profile: _Optional[bytes] = ..., verifier: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("step", "data")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    step: int
    data: bytes
    def __init__(self, step: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class AuditFile(_message.Message):
    __slots__ = ("header", "acceptance", "receipt", "audit", "answer", "report", "body", "png", "states")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ACCEPTANCE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    header: bytes
    acceptance: bytes
    receipt: bytes
    audit: bytes
    answer: bytes
    report: bytes
    body: bytes
    png: bytes
    states: _containers.RepeatedCompositeFieldContainer[State]
    def __init__(self, header: _Optional[bytes] = ..., acceptance: _Optional[bytes] = ..., receipt: _Optional[bytes] = ..., audit: _Optional[bytes] = ..., answer: _Optional[bytes] = ..., report: _Optional[bytes] = ..., body: _Optional[bytes] = ..., png: _Optional[bytes] = ..., states: _Optional[_Iterable[_Union[State, _Mapping]]] = ...) -> None: ...

class JobEnded(_message.Message):
    __slots__ = ("head", "lease", "job", "attempt", "outcome", "upfront_credit", "reasons")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    UPFRONT_CREDIT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    job: bytes
    attempt: bytes
    outcome: Outcome
    upfront_credit: int
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., job: _Optional[bytes] = ..., attempt: _Optional[bytes] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., upfront_credit: _Optional[int] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ...) -> None: ...

class Reserve(_message.Message):
    __slots__ = ("head", "lease", "lasts_ms")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LASTS_MS_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    lasts_ms: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., lasts_ms: _Optional[int] = ...) -> None: ...

class Reserved(_message.Message):
    __slots__ = ("head", "lease", "from_ms", "until_ms", "amount")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    FROM_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    from_ms: int
    until_ms: int
    amount: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., from_ms: _Optional[int] = ..., until_ms: _Optional[int] = ..., amount: _Optional[int] = ...) -> None: ...

class ReserveEnded(_message.Message):
    __slots__ = ("head", "lease", "at_ms", "credit", "reasons")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    at_ms: int
    credit: int
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., at_ms: _Optional[int] = ..., credit: _Optional[int] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("head", "accused", "crime", "documents", "blobs")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    ACCUSED_FIELD_NUMBER: _ClassVar[int]
    CRIME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    head: Head
    accused: str
    crime: Crime
    documents: _containers.RepeatedScalarFieldContainer[bytes]
    blobs: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., accused: _Optional[str] = ..., crime: _Optional[_Union[Crime, str]] = ..., documents: _Optional[_Iterable[bytes]] = ..., blobs: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Lock(_message.Message):
    __slots__ = ("amount", "hashlock")
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    HASHLOCK_FIELD_NUMBER: _ClassVar[int]
    amount: int
    hashlock: bytes
    def __init__(self, amount: _Optional[int] = ..., hashlock: _Optional[bytes] = ...) -> None: ...

class Voucher(_message.Message):
    __slots__ = ("head", "lease", "unlocked", "locks")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    UNLOCKED_FIELD_NUMBER: _ClassVar[int]
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    unlocked: int
    locks: _containers.RepeatedCompositeFieldContainer[Lock]
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., unlocked: _Optional[int] = ..., locks: _Optional[_Iterable[_Union[Lock, _Mapping]]] = ...) -> None: ...

class HoldOrder(_message.Message):
    __slots__ = ("head", "lease", "payee", "amount", "hold_expires_at_ms")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PAYEE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    HOLD_EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    payee: str
    amount: int
    hold_expires_at_ms: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., payee: _Optional[str] = ..., amount: _Optional[int] = ..., hold_expires_at_ms: _Optional[int] = ...) -> None: ...

class Hold(_message.Message):
    __slots__ = ("head", "lease", "payer", "payee", "amount", "hold_expires_at_ms", "event")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PAYER_FIELD_NUMBER: _ClassVar[int]
    PAYEE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    HOLD_EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    payer: str
    payee: str
    amount: int
    hold_expires_at_ms: int
    event: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., payer: _Optional[str] = ..., payee: _Optional[str] = ..., amount: _Optional[int] = ..., hold_expires_at_ms: _Optional[int] = ..., event: _Optional[int] = ...) -> None: ...

class Capture(_message.Message):
    __slots__ = ("head", "lease", "voucher", "keys", "final")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    VOUCHER_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    voucher: bytes
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    final: bool
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., voucher: _Optional[bytes] = ..., keys: _Optional[_Iterable[bytes]] = ..., final: _Optional[bool] = ...) -> None: ...

class Captured(_message.Message):
    __slots__ = ("head", "lease", "paid", "captured", "released", "closed", "event")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PAID_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    paid: int
    captured: int
    released: int
    closed: bool
    event: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., paid: _Optional[int] = ..., captured: _Optional[int] = ..., released: _Optional[int] = ..., closed: _Optional[bool] = ..., event: _Optional[int] = ...) -> None: ...

class Pay(_message.Message):
    __slots__ = ("head", "payee", "amount", "memo")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    PAYEE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    MEMO_FIELD_NUMBER: _ClassVar[int]
    head: Head
    payee: str
    amount: int
    memo: str
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., payee: _Optional[str] = ..., amount: _Optional[int] = ..., memo: _Optional[str] = ...) -> None: ...

class Issue(_message.Message):
    __slots__ = ("head", "account", "amount", "reference")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    head: Head
    account: str
    amount: int
    reference: str
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., account: _Optional[str] = ..., amount: _Optional[int] = ..., reference: _Optional[str] = ...) -> None: ...

class Redeem(_message.Message):
    __slots__ = ("head", "account", "amount", "reference")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    head: Head
    account: str
    amount: int
    reference: str
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., account: _Optional[str] = ..., amount: _Optional[int] = ..., reference: _Optional[str] = ...) -> None: ...

class Posted(_message.Message):
    __slots__ = ("head", "event", "account", "available", "held")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    head: Head
    event: int
    account: str
    available: int
    held: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., event: _Optional[int] = ..., account: _Optional[str] = ..., available: _Optional[int] = ..., held: _Optional[int] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("head", "kind", "account", "lease", "since")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    head: Head
    kind: QueryKind
    account: str
    lease: bytes
    since: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., kind: _Optional[_Union[QueryKind, str]] = ..., account: _Optional[str] = ..., lease: _Optional[bytes] = ..., since: _Optional[int] = ...) -> None: ...

class Balance(_message.Message):
    __slots__ = ("head", "account", "available", "held", "earning", "event")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    EARNING_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    head: Head
    account: str
    available: int
    held: int
    earning: int
    event: int
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., account: _Optional[str] = ..., available: _Optional[int] = ..., held: _Optional[int] = ..., earning: _Optional[int] = ..., event: _Optional[int] = ...) -> None: ...

class HoldState(_message.Message):
    __slots__ = ("head", "lease", "payer", "payee", "amount", "captured", "released", "closed", "hold_expires_at_ms", "keys")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PAYER_FIELD_NUMBER: _ClassVar[int]
    PAYEE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    HOLD_EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    head: Head
    lease: bytes
    payer: str
    payee: str
    amount: int
    captured: int
    released: int
    closed: bool
    hold_expires_at_ms: int
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., lease: _Optional[bytes] = ..., payer: _Optional[str] = ..., payee: _Optional[str] = ..., amount: _Optional[int] = ..., captured: _Optional[int] = ..., released: _Optional[int] = ..., closed: _Optional[bool] = ..., hold_expires_at_ms: _Optional[int] = ..., keys: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Leg(_message.Message):
    __slots__ = ("account", "bucket", "amount")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    account: str
    bucket: Bucket
    amount: int
    def __init__(self, account: _Optional[str] = ..., bucket: _Optional[_Union[Bucket, str]] = ..., amount: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "previous", "kind", "at_ms", "lease", "instruction", "legs")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    LEGS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    previous: bytes
    kind: EventKind
    at_ms: int
    lease: bytes
    instruction: bytes
    legs: _containers.RepeatedCompositeFieldContainer[Leg]
    def __init__(self, sequence: _Optional[int] = ..., previous: _Optional[bytes] = ..., kind: _Optional[_Union[EventKind, str]] = ..., at_ms: _Optional[int] = ..., lease: _Optional[bytes] = ..., instruction: _Optional[bytes] = ..., legs: _Optional[_Iterable[_Union[Leg, _Mapping]]] = ...) -> None: ...

class JournalHead(_message.Message):
    __slots__ = ("head", "sequence", "hash")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    head: Head
    sequence: int
    hash: bytes
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., sequence: _Optional[int] = ..., hash: _Optional[bytes] = ...) -> None: ...
