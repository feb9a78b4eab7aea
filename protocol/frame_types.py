"""The words that a node and a worker say to each other. Rule: a frame is plain data whose type says all of its bounds.

The codec (`frames`) reads the bounds from the annotations, both when it encodes and when it decodes. Ranges that make
sense to a buyer (steps, sizes, counts) are wide here on purpose: breaking them fails one attempt, not the worker.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from gpufair.protocol import limits

VERSION = 1
"""Version of the worker protocol, in Hello and Ready."""

TEXT_TO_IMAGE = "text_to_image"
"""The one task of this version."""


@dataclass(frozen=True, slots=True)
class Between:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Length:
    """Bytes of a byte string, or of a text in UTF-8, from `low` to `high`, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Items:
    """Entries of a tuple, at most."""

    high: int


U32 = Annotated[int, Between(0, 2**32 - 1)]
U64 = Annotated[int, Between(0, 2**64 - 1)]
Nonce = Annotated[bytes, Length(16, 16)]
AttemptId = Annotated[bytes, Length(16, 16)]
Digest = Annotated[bytes, Length(32, 32)]
Word = Annotated[str, Length(0, limits.NAME_MAX)]
Text = Annotated[str, Length(0, limits.PROMPT_MAX)]
Path = Annotated[str, Length(1, 1024)]
Message = Annotated[str, Length(0, limits.TEXT_MAX)]
PreviewBytes = Annotated[bytes, Length(1, limits.PREVIEW_MAX)]
ChunkBytes = Annotated[bytes, Length(1, limits.OUTPUT_CHUNK)]
PictureSize = Annotated[int, Between(1, limits.OUTPUT_MAX)]


class FailCode(IntEnum):
    """Why a worker could not load a model or finish an attempt. The numbers are on the wire and never change."""

    BAD_REQUEST = 1
    OUT_OF_MEMORY = 2
    MODEL_MISSING = 3
    MODEL_BAD = 4
    CANCELLED = 5
    INTERNAL = 6


@dataclass(frozen=True, slots=True)
class Hello:
    """Node to worker, first of all: the version spoken, a nonce to echo, CPU threads, "cpu", "cuda" or "auto"."""

    protocol: U32
    nonce: Nonce
    threads: Annotated[int, Between(1, 1024)]
    device: Word = "auto"


@dataclass(frozen=True, slots=True)
class Load:
    """Node to worker: load the model folder at `path` (as the worker sees it), whose content must have `digest`."""

    digest: Digest
    path: Path


@dataclass(frozen=True, slots=True)
class Adapter:
    """A low-rank adapter by digest, and its weight in thousandths."""

    digest: Digest
    weight_milli: Annotated[int, Between(-100_000, 100_000)]


@dataclass(frozen=True, slots=True)
class Run:
    """Node to worker: one attempt at pictures `first_picture` … `first_picture + count - 1` of a job.

    Picture i (counted over the whole job) uses seed + i modulo 2**64, and is computed alone. `guidance_milli` 1000
    means 1.0, no guidance. An empty `scheduler` or `precision` is the model's or the worker's own.
    """

    attempt: AttemptId
    model: Digest
    prompt: Text
    seed: U64
    steps: U32
    guidance_milli: U32
    width: U32
    height: U32
    negative_prompt: Text = ""
    scheduler: Word = ""
    count: U32 = 1
    preview_every: U32 = 0
    first_picture: U32 = 0
    task: Word = TEXT_TO_IMAGE
    adapters: Annotated[tuple[Adapter, ...], Items(limits.ADAPTERS_MAX)] = ()
    precision: Word = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Node to worker: end this attempt at the next step, or never begin it. The answer is Failed or Done."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Stop:
    """Node to worker: exit once what was asked before is done."""


@dataclass(frozen=True, slots=True)
class Credit:
    """Either way: `size` bytes of frames are done with and may be sent again. Only `FrameLink` speaks it."""

    size: Annotated[int, Between(1, limits.FRAME_CREDIT)]


@dataclass(frozen=True, slots=True)
class RuntimeProfile:
    """All that a result's bits depend on. Within one profile, one picture at a time, results are bitwise equal."""

    python: Word
    torch: Word
    diffusers: Word
    transformers: Word
    wheel: Word
    device_kind: Word
    device_name: Word
    dtype: Word
    flags: Annotated[tuple[Word, ...], Items(32)] = ()

    def digest(self) -> bytes:
        """SHA-256 over every field in order, each a u32 big-endian length and its UTF-8 bytes; flags sorted, last."""
        words = [self.python, self.torch, self.diffusers, self.transformers, self.wheel]
        words += [self.device_kind, self.device_name, self.dtype, *sorted(self.flags)]
        parts = [word.encode() for word in words]
        return hashlib.sha256(
            b"gpufair/profile/v1\x00" + b"".join(len(p).to_bytes(4, "big") + p for p in parts)
        ).digest()


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker to node, the answer to Hello: what it runs on. `memory_bytes` is the device's whole memory."""

    protocol: U32
    nonce: Nonce
    profile: RuntimeProfile
    memory_bytes: U64


@dataclass(frozen=True, slots=True)
class Loaded:
    """Worker to node: the model is in memory. Milliseconds it took (0: it was there), bytes of weights held."""

    digest: Digest
    load_ms: U64
    size: U64


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Worker to node: the model is not in memory, and why. The worker lives on."""

    digest: Digest
    code: FailCode
    message: Message


@dataclass(frozen=True, slots=True)
class Accepting:
    """Worker to node: the attempt has been taken up; sent before any check or work."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Step:
    """Worker to node: the trace leaf of step `step`; 0 is the starting noise, s the latents after s steps."""

    attempt: AttemptId
    picture: U32
    step: U32
    leaf: Digest


@dataclass(frozen=True, slots=True)
class Preview:
    """Worker to node: a small PNG of where picture `picture` is going, made after `step` steps."""

    attempt: AttemptId
    picture: U32
    step: U32
    png: PreviewBytes


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """Worker to node: bytes of a finished picture from `offset`, of `total`. In order, without gaps."""

    attempt: AttemptId
    picture: U32
    offset: U32
    total: PictureSize
    data: ChunkBytes


@dataclass(frozen=True, slots=True)
class OutputEnd:
    """Worker to node: the picture is whole: its digest and length, and its trace's root and number of leaves."""

    attempt: AttemptId
    picture: U32
    sha256: Digest
    length: PictureSize
    trace_root: Digest
    leaf_count: U32


@dataclass(frozen=True, slots=True)
class Done:
    """Worker to node: every picture of the attempt has been sent."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker to node: the attempt has ended without all of its pictures, and why. The worker lives on."""

    attempt: AttemptId
    code: FailCode
    message: Message


ToWorker = Hello | Load | Run | Cancel | Stop
FromWorker = Ready | Loaded | LoadFailed | Accepting | Step | Preview | OutputChunk | OutputEnd | Done | Failed
Frame = ToWorker | FromWorker | Credit
