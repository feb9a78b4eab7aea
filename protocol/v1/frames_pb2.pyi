from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAIL_CODE_UNSPECIFIED: _ClassVar[FailCode]
    FAIL_CODE_BAD_REQUEST: _ClassVar[FailCode]
    FAIL_CODE_OUT_OF_MEMORY: _ClassVar[FailCode]
    FAIL_CODE_MODEL_MISSING: _ClassVar[FailCode]
    FAIL_CODE_MODEL_BAD: _ClassVar[FailCode]
    FAIL_CODE_CANCELLED: _ClassVar[FailCode]
    FAIL_CODE_INTERNAL: _ClassVar[FailCode]
    FAIL_CODE_CHECKPOINT_WRONG: _ClassVar[FailCode]
FAIL_CODE_UNSPECIFIED: FailCode
FAIL_CODE_BAD_REQUEST: FailCode
FAIL_CODE_OUT_OF_MEMORY: FailCode
FAIL_CODE_MODEL_MISSING: FailCode
FAIL_CODE_MODEL_BAD: FailCode
FAIL_CODE_CANCELLED: FailCode
FAIL_CODE_INTERNAL: FailCode
FAIL_CODE_CHECKPOINT_WRONG: FailCode

class Frame(_message.Message):
    __slots__ = ("hello", "load", "run", "cancel", "stop", "input", "replay", "measure", "credit", "ready", "loaded", "load_failed", "accepting", "step", "preview", "output_chunk", "output_end", "done", "failed", "state", "replayed", "measured")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    LOAD_FAILED_FIELD_NUMBER: _ClassVar[int]
    ACCEPTING_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CHUNK_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_END_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    load: Load
    run: Run
    cancel: Cancel
    stop: Stop
    input: Input
    replay: Replay
    measure: Measure
    credit: Credit
    ready: Ready
    loaded: Loaded
    load_failed: LoadFailed
    accepting: Accepting
    step: Step
    preview: Preview
    output_chunk: OutputChunk
    output_end: OutputEnd
    done: Done
    failed: Failed
    state: State
    replayed: Replayed
    measured: Measured
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., run: _Optional[_Union[Run, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., input: _Optional[_Union[Input, _Mapping]] = ..., replay: _Optional[_Union[Replay, _Mapping]] = ..., measure: _Optional[_Union[Measure, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., loaded: _Optional[_Union[Loaded, _Mapping]] = ..., load_failed: _Optional[_Union[LoadFailed, _Mapping]] = ..., accepting: _Optional[_Union[Accepting, _Mapping]] = ..., step: _Optional[_Union[Step, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., output_chunk: _Optional[_Union[OutputChunk, _Mapping]] = ..., output_end: _Optional[_Union[OutputEnd, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ..., state: _Optional[_Union[State, _Mapping]] = ..., replayed: _Optional[_Union[Replayed, _Mapping]] = ..., measured: _Optional[_Union[Measured, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "nonce", "threads", "device", "dtype", "compile", "weights_bytes")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    COMPILE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    nonce: bytes
    threads: int
    device: str
    dtype: str
    compile: bool
    weights_bytes: int
    def __init__(self, protocol: _Optional[int] = ..., nonce: _Optional[bytes] = ..., threads: _Optional[int] = ..., device: _Optional[str] = ..., dtype: _Optional[str] = ..., compile: _Optional[bool] = ..., weights_bytes: _Optional[int] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("digest", "path", "kind")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    path: str
    kind: str
    def __init__(self, digest: _Optional[bytes] = ..., path: _Optional[str] = ..., kind: _Optional[str] = ...) -> None: ...

class Adapter(_message.Message):
    __slots__ = ("digest", "weight_milli")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_MILLI_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    weight_milli: int
    def __init__(self, digest: _Optional[bytes] = ..., weight_milli: _Optional[int] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("attempt", "index", "offset", "total", "data")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    index: int
    offset: int
    total: int
    data: bytes
    def __init__(self, attempt: _Optional[bytes] = ..., index: _Optional[int] = ..., offset: _Optional[int] = ..., total: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class InputRef(_message.Message):
    __slots__ = ("kind", "sha256", "length", "step")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    kind: str
    sha256: bytes
    length: int
    step: int
    def __init__(self, kind: _Optional[str] = ..., sha256: _Optional[bytes] = ..., length: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("attempt", "task", "model", "prompt", "negative_prompt", "seed", "steps", "guidance_milli", "width", "height", "scheduler", "count", "preview_every", "first_picture", "adapters", "precision", "skip", "inputs", "first_step", "trace", "last_step")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_MILLI_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_EVERY_FIELD_NUMBER: _ClassVar[int]
    FIRST_PICTURE_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    task: str
    model: bytes
    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance_milli: int
    width: int
    height: int
    scheduler: str
    count: int
    preview_every: int
    first_picture: int
    adapters: _containers.RepeatedCompositeFieldContainer[Adapter]
    precision: str
    skip: int
    inputs: _containers.RepeatedCompositeFieldContainer[InputRef]
    first_step: int
    trace: bool
    last_step: int
    def __init__(self, attempt: _Optional[bytes] = ..., task: _Optional[str] = ..., model: _Optional[bytes] = ..., prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., seed: _Optional[int] = ..., steps: _Optional[int] = ..., guidance_milli: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., scheduler: _Optional[str] = ..., count: _Optional[int] = ..., preview_every: _Optional[int] = ..., first_picture: _Optional[int] = ..., adapters: _Optional[_Iterable[_Union[Adapter, _Mapping]]] = ..., precision: _Optional[str] = ..., skip: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[InputRef, _Mapping]]] = ..., first_step: _Optional[int] = ..., trace: _Optional[bool] = ..., last_step: _Optional[int] = ...) -> None: ...

class Replay(_message.Message):
    __slots__ = ("run", "step")
    RUN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    run: Run
    step: int
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ..., step: _Optional[int] = ...) -> None: ...

class Measure(_message.Message):
    __slots__ = ("run", "rounds")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    run: Run
    rounds: int
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ..., rounds: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("attempt",)
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    def __init__(self, attempt: _Optional[bytes] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Credit(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: int
    def __init__(self, size: _Optional[int] = ...) -> None: ...

class RuntimeProfile(_message.Message):
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

class Ready(_message.Message):
    __slots__ = ("protocol", "nonce", "profile", "memory_bytes")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    nonce: bytes
    profile: RuntimeProfile
    memory_bytes: int
    def __init__(self, protocol: _Optional[int] = ..., nonce: _Optional[bytes] = ..., profile: _Optional[_Union[RuntimeProfile, _Mapping]] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class Loaded(_message.Message):
    __slots__ = ("digest", "load_ms", "size", "held")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOAD_MS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    load_ms: int
    size: int
    held: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, digest: _Optional[bytes] = ..., load_ms: _Optional[int] = ..., size: _Optional[int] = ..., held: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LoadFailed(_message.Message):
    __slots__ = ("digest", "code", "message")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    code: FailCode
    message: str
    def __init__(self, digest: _Optional[bytes] = ..., code: _Optional[_Union[FailCode, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Accepting(_message.Message):
    __slots__ = ("attempt",)
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    def __init__(self, attempt: _Optional[bytes] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("attempt", "picture", "step", "leaf")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    picture: int
    step: int
    leaf: bytes
    def __init__(self, attempt: _Optional[bytes] = ..., picture: _Optional[int] = ..., step: _Optional[int] = ..., leaf: _Optional[bytes] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("attempt", "picture", "step", "png")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    picture: int
    step: int
    png: bytes
    def __init__(self, attempt: _Optional[bytes] = ..., picture: _Optional[int] = ..., step: _Optional[int] = ..., png: _Optional[bytes] = ...) -> None: ...

class OutputChunk(_message.Message):
    __slots__ = ("attempt", "picture", "offset", "total", "data")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    picture: int
    offset: int
    total: int
    data: bytes
    def __init__(self, attempt: _Optional[bytes] = ..., picture: _Optional[int] = ..., offset: _Optional[int] = ..., total: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class OutputEnd(_message.Message):
    __slots__ = ("attempt", "picture", "sha256", "length", "trace_root", "leaf_count")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    TRACE_ROOT_FIELD_NUMBER: _ClassVar[int]
    LEAF_COUNT_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    picture: int
    sha256: bytes
    length: int
    trace_root: bytes
    leaf_count: int
    def __init__(self, attempt: _Optional[bytes] = ..., picture: _Optional[int] = ..., sha256: _Optional[bytes] = ..., length: _Optional[int] = ..., trace_root: _Optional[bytes] = ..., leaf_count: _Optional[int] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ("attempt",)
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    def __init__(self, attempt: _Optional[bytes] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("attempt", "code", "message")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    code: FailCode
    message: str
    def __init__(self, attempt: _Optional[bytes] = ..., code: _Optional[_Union[FailCode, str]] = ..., message: _Optional[str] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("attempt", "picture", "step", "offset", "total", "data")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    picture: int
    step: int
    offset: int
    total: int
    data: bytes
    def __init__(self, attempt: _Optional[bytes] = ..., picture: _Optional[int] = ..., step: _Optional[int] = ..., offset: _Optional[int] = ..., total: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Replayed(_message.Message):
    __slots__ = ("attempt", "start_nano", "step_nano", "picture_nano")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    START_NANO_FIELD_NUMBER: _ClassVar[int]
    STEP_NANO_FIELD_NUMBER: _ClassVar[int]
    PICTURE_NANO_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    start_nano: int
    step_nano: int
    picture_nano: int
    def __init__(self, attempt: _Optional[bytes] = ..., start_nano: _Optional[int] = ..., step_nano: _Optional[int] = ..., picture_nano: _Optional[int] = ...) -> None: ...

class Measured(_message.Message):
    __slots__ = ("attempt", "step_us", "decode_us", "whole_us", "step_flops", "decode_flops", "matmul_flops", "peak_bytes")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_US_FIELD_NUMBER: _ClassVar[int]
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    WHOLE_US_FIELD_NUMBER: _ClassVar[int]
    STEP_FLOPS_FIELD_NUMBER: _ClassVar[int]
    DECODE_FLOPS_FIELD_NUMBER: _ClassVar[int]
    MATMUL_FLOPS_FIELD_NUMBER: _ClassVar[int]
    PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    step_us: int
    decode_us: int
    whole_us: int
    step_flops: int
    decode_flops: int
    matmul_flops: int
    peak_bytes: int
    def __init__(self, attempt: _Optional[bytes] = ..., step_us: _Optional[int] = ..., decode_us: _Optional[int] = ..., whole_us: _Optional[int] = ..., step_flops: _Optional[int] = ..., decode_flops: _Optional[int] = ..., matmul_flops: _Optional[int] = ..., peak_bytes: _Optional[int] = ...) -> None: ...
