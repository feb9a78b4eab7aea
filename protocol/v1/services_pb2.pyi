from gpufair.protocol.v1 import documents_pb2 as _documents_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Challenge(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("kept",)
    KEPT_FIELD_NUMBER: _ClassVar[int]
    kept: bytes
    def __init__(self, kept: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("job", "envelope")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    envelope: _documents_pb2.Envelope
    def __init__(self, job: _Optional[bytes] = ..., envelope: _Optional[_Union[_documents_pb2.Envelope, _Mapping]] = ...) -> None: ...

class Beat(_message.Message):
    __slots__ = ("job", "ahead", "left_ms")
    JOB_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    ahead: int
    left_ms: int
    def __init__(self, job: _Optional[bytes] = ..., ahead: _Optional[int] = ..., left_ms: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("job", "picture", "step", "steps", "leaf")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    picture: int
    step: int
    steps: int
    leaf: bytes
    def __init__(self, job: _Optional[bytes] = ..., picture: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., leaf: _Optional[bytes] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("job", "picture", "step", "png")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    picture: int
    step: int
    png: bytes
    def __init__(self, job: _Optional[bytes] = ..., picture: _Optional[int] = ..., step: _Optional[int] = ..., png: _Optional[bytes] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("job", "picture", "receipt", "step")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    picture: int
    receipt: _documents_pb2.Envelope
    step: int
    def __init__(self, job: _Optional[bytes] = ..., picture: _Optional[int] = ..., receipt: _Optional[_Union[_documents_pb2.Envelope, _Mapping]] = ..., step: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("job", "picture", "offset", "data", "step")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    picture: int
    offset: int
    data: bytes
    step: int
    def __init__(self, job: _Optional[bytes] = ..., picture: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., step: _Optional[int] = ...) -> None: ...

class KeyReveal(_message.Message):
    __slots__ = ("job", "picture", "key", "step")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    picture: int
    key: bytes
    step: int
    def __init__(self, job: _Optional[bytes] = ..., picture: _Optional[int] = ..., key: _Optional[bytes] = ..., step: _Optional[int] = ...) -> None: ...

class Kept(_message.Message):
    __slots__ = ("voucher",)
    VOUCHER_FIELD_NUMBER: _ClassVar[int]
    voucher: bytes
    def __init__(self, voucher: _Optional[bytes] = ...) -> None: ...

class Closing(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: _documents_pb2.Envelope
    def __init__(self, envelope: _Optional[_Union[_documents_pb2.Envelope, _Mapping]] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: _documents_pb2.Envelope
    def __init__(self, envelope: _Optional[_Union[_documents_pb2.Envelope, _Mapping]] = ...) -> None: ...

class Body(_message.Message):
    __slots__ = ("job", "sealed", "offset")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    job: bytes
    sealed: bytes
    offset: int
    def __init__(self, job: _Optional[bytes] = ..., sealed: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class StreamUp(_message.Message):
    __slots__ = ("open", "order", "body")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    open: Open
    order: Order
    body: Body
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., order: _Optional[_Union[Order, _Mapping]] = ..., body: _Optional[_Union[Body, _Mapping]] = ...) -> None: ...

class StreamDown(_message.Message):
    __slots__ = ("challenge", "opened", "answer", "progress", "preview", "delivery", "chunk", "key_reveal", "kept", "closing", "beat")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    KEY_REVEAL_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    challenge: Challenge
    opened: Opened
    answer: Answer
    progress: Progress
    preview: Preview
    delivery: Delivery
    chunk: Chunk
    key_reveal: KeyReveal
    kept: Kept
    closing: Closing
    beat: Beat
    def __init__(self, challenge: _Optional[_Union[Challenge, _Mapping]] = ..., opened: _Optional[_Union[Opened, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., delivery: _Optional[_Union[Delivery, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., key_reveal: _Optional[_Union[KeyReveal, _Mapping]] = ..., kept: _Optional[_Union[Kept, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ...) -> None: ...

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FindRequest(_message.Message):
    __slots__ = ("dids", "after")
    DIDS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    dids: _containers.RepeatedScalarFieldContainer[str]
    after: str
    def __init__(self, dids: _Optional[_Iterable[str]] = ..., after: _Optional[str] = ...) -> None: ...

class Documents(_message.Message):
    __slots__ = ("documents", "next")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[_documents_pb2.Envelope]
    next: str
    def __init__(self, documents: _Optional[_Iterable[_Union[_documents_pb2.Envelope, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class PublishAnswer(_message.Message):
    __slots__ = ("sequence", "stored")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    stored: bool
    def __init__(self, sequence: _Optional[int] = ..., stored: _Optional[bool] = ...) -> None: ...

class Heading(_message.Message):
    __slots__ = ("place", "sequence")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    place: bytes
    sequence: int
    def __init__(self, place: _Optional[bytes] = ..., sequence: _Optional[int] = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("prefix", "digest")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    digest: bytes
    def __init__(self, prefix: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Leaf(_message.Message):
    __slots__ = ("prefix", "headings")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    HEADINGS_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    headings: _containers.RepeatedCompositeFieldContainer[Heading]
    def __init__(self, prefix: _Optional[str] = ..., headings: _Optional[_Iterable[_Union[Heading, _Mapping]]] = ...) -> None: ...

class Compare(_message.Message):
    __slots__ = ("branches",)
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    branches: _containers.RepeatedCompositeFieldContainer[Branch]
    def __init__(self, branches: _Optional[_Iterable[_Union[Branch, _Mapping]]] = ...) -> None: ...

class Compared(_message.Message):
    __slots__ = ("split", "branches", "leaves")
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    LEAVES_FIELD_NUMBER: _ClassVar[int]
    split: _containers.RepeatedScalarFieldContainer[str]
    branches: _containers.RepeatedCompositeFieldContainer[Branch]
    leaves: _containers.RepeatedCompositeFieldContainer[Leaf]
    def __init__(self, split: _Optional[_Iterable[str]] = ..., branches: _Optional[_Iterable[_Union[Branch, _Mapping]]] = ..., leaves: _Optional[_Iterable[_Union[Leaf, _Mapping]]] = ...) -> None: ...

class Tell(_message.Message):
    __slots__ = ("teller", "headings")
    TELLER_FIELD_NUMBER: _ClassVar[int]
    HEADINGS_FIELD_NUMBER: _ClassVar[int]
    teller: str
    headings: _containers.RepeatedCompositeFieldContainer[Heading]
    def __init__(self, teller: _Optional[str] = ..., headings: _Optional[_Iterable[_Union[Heading, _Mapping]]] = ...) -> None: ...

class Told(_message.Message):
    __slots__ = ("wanted",)
    WANTED_FIELD_NUMBER: _ClassVar[int]
    wanted: int
    def __init__(self, wanted: _Optional[int] = ...) -> None: ...

class Pull(_message.Message):
    __slots__ = ("places",)
    PLACES_FIELD_NUMBER: _ClassVar[int]
    places: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, places: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Bodies(_message.Message):
    __slots__ = ("documents",)
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[_documents_pb2.Envelope]
    def __init__(self, documents: _Optional[_Iterable[_Union[_documents_pb2.Envelope, _Mapping]]] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("limit", "price_weight", "speed_weight", "model", "name", "tasks", "classes", "gpu", "memory_bytes", "isolation", "profile", "region", "ledgers", "price_max")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PRICE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SPEED_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    LEDGERS_FIELD_NUMBER: _ClassVar[int]
    PRICE_MAX_FIELD_NUMBER: _ClassVar[int]
    limit: int
    price_weight: int
    speed_weight: int
    model: bytes
    name: str
    tasks: _containers.RepeatedScalarFieldContainer[_documents_pb2.Task]
    classes: _containers.RepeatedScalarFieldContainer[_documents_pb2.BidClass]
    gpu: str
    memory_bytes: int
    isolation: _documents_pb2.Isolation
    profile: bytes
    region: str
    ledgers: _containers.RepeatedScalarFieldContainer[str]
    price_max: int
    def __init__(self, limit: _Optional[int] = ..., price_weight: _Optional[int] = ..., speed_weight: _Optional[int] = ..., model: _Optional[bytes] = ..., name: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[_documents_pb2.Task, str]]] = ..., classes: _Optional[_Iterable[_Union[_documents_pb2.BidClass, str]]] = ..., gpu: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., isolation: _Optional[_Union[_documents_pb2.Isolation, str]] = ..., profile: _Optional[bytes] = ..., region: _Optional[str] = ..., ledgers: _Optional[_Iterable[str]] = ..., price_max: _Optional[int] = ...) -> None: ...

class FilterCount(_message.Message):
    __slots__ = ("filter", "alone", "left")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    filter: str
    alone: int
    left: int
    def __init__(self, filter: _Optional[str] = ..., alone: _Optional[int] = ..., left: _Optional[int] = ...) -> None: ...

class SearchAnswer(_message.Message):
    __slots__ = ("known", "matches", "counts", "offers")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    known: int
    matches: int
    counts: _containers.RepeatedCompositeFieldContainer[FilterCount]
    offers: _containers.RepeatedCompositeFieldContainer[_documents_pb2.Envelope]
    def __init__(self, known: _Optional[int] = ..., matches: _Optional[int] = ..., counts: _Optional[_Iterable[_Union[FilterCount, _Mapping]]] = ..., offers: _Optional[_Iterable[_Union[_documents_pb2.Envelope, _Mapping]]] = ...) -> None: ...

class JournalPage(_message.Message):
    __slots__ = ("events", "head")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[bytes]
    head: _documents_pb2.Envelope
    def __init__(self, events: _Optional[_Iterable[bytes]] = ..., head: _Optional[_Union[_documents_pb2.Envelope, _Mapping]] = ...) -> None: ...

class StatePiece(_message.Message):
    __slots__ = ("step", "offset", "data")
    STEP_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    step: int
    offset: int
    data: bytes
    def __init__(self, step: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class AuditPart(_message.Message):
    __slots__ = ("answer", "piece")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    answer: _documents_pb2.Envelope
    piece: StatePiece
    def __init__(self, answer: _Optional[_Union[_documents_pb2.Envelope, _Mapping]] = ..., piece: _Optional[_Union[StatePiece, _Mapping]] = ...) -> None: ...

class FetchPart(_message.Message):
    __slots__ = ("receipt", "chunk", "key")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    receipt: _documents_pb2.Envelope
    chunk: Chunk
    key: KeyReveal
    def __init__(self, receipt: _Optional[_Union[_documents_pb2.Envelope, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., key: _Optional[_Union[KeyReveal, _Mapping]] = ...) -> None: ...
