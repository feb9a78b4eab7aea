"""What a worker says to its node. Rule: a claim is data for the node to recompute, never a fact."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from gpufair.protocol import limits, profiles
from gpufair.protocol.frame_bounds import (
    U32,
    U64,
    AttemptId,
    ChunkBytes,
    Digest,
    Items,
    Message,
    Nonce,
    PictureSize,
    PreviewBytes,
    StateSize,
    Word,
)


class FailCode(IntEnum):
    """Why a worker could not load a model or finish an attempt. The numbers are on the wire and never change."""

    BAD_REQUEST = 1
    OUT_OF_MEMORY = 2
    MODEL_MISSING = 3
    MODEL_BAD = 4
    CANCELLED = 5
    INTERNAL = 6
    CHECKPOINT_WRONG = 7


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
        """Its 32 bytes in receipts."""
        return profiles.digest(self)


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker to node, the answer to Hello: what it runs on. `memory_bytes` is the device's whole memory."""

    protocol: U32
    nonce: Nonce
    profile: RuntimeProfile
    memory_bytes: U64


@dataclass(frozen=True, slots=True)
class Loaded:
    """Worker to node: the model is in memory. Milliseconds it took (0: it was there), bytes of weights held.

    `held` are the models in memory now, this one last.
    """

    digest: Digest
    load_ms: U64
    size: U64
    held: Annotated[tuple[Digest, ...], Items(limits.HELD_MODELS_MAX)] = ()


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
class State:
    """Worker to node: bytes of what the leaf of step `step` commits to, before its Step. In order, without gaps."""

    attempt: AttemptId
    picture: U32
    step: U32
    offset: U32
    total: StateSize
    data: ChunkBytes


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
    """Worker to node: the picture is whole: its digest and length, and its trace's root and number of leaves.

    Of a picture that was taken up again after step k, the leaves from k on, which are all that the worker knows.
    """

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


@dataclass(frozen=True, slots=True)
class Replayed:
    """Worker to node: how far a replay is from what it was given, in thousand-millionths.

    The start's and the step's error, each by the denoiser's contribution to it; the picture's mean difference by its
    full range. What can't be compared at all (other shapes, no numbers) is 2**64 - 1.
    """

    attempt: AttemptId
    start_nano: U64
    step_nano: U64
    picture_nano: U64


@dataclass(frozen=True, slots=True)
class Measured:
    """Worker to node: medians in microseconds, floating-point operations, peak bytes.

    `matmul_flops` is what the device did in a second of a large matrix product in the same run.
    """

    attempt: AttemptId
    step_us: U64
    decode_us: U64
    whole_us: U64
    step_flops: U64
    decode_flops: U64
    matmul_flops: U64
    peak_bytes: U64
