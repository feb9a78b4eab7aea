"""What a node says to a worker. Rule: nothing in it was chosen by a buyer but values that were checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gpufair.protocol import limits
from gpufair.protocol.frame_bounds import (
    U32,
    U64,
    AttemptId,
    Between,
    ChunkBytes,
    Digest,
    Items,
    Nonce,
    Path,
    PictureSize,
    Text,
    Word,
)

TEXT_TO_IMAGE = "text_to_image"
IMAGE_TO_IMAGE = "image_to_image"
INPAINT = "inpaint"

MODEL = "model"
ADAPTER = "adapter"
IMAGE = "image"
MASK = "mask"
STATE = "state"
PICTURE = "picture"
"""Kinds of inputs: PNG to begin from, where to make it anew, what a leaf commits to, a PNG that was delivered."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Node to worker, first of all: the version spoken, a nonce to echo, CPU threads, "cpu", "cuda" or "auto".

    `dtype` is the denoiser's ("float32", "bfloat16", "float16"; empty: float32); `compile` asks for a compiled one;
    `weights_bytes` is the memory for weights, 0 leaves that to the worker.
    """

    protocol: U32
    nonce: Nonce
    threads: Annotated[int, Between(1, 1024)]
    device: Word = "auto"
    dtype: Word = ""
    compile: bool = False
    weights_bytes: U64 = 0


@dataclass(frozen=True, slots=True)
class Load:
    """Node to worker: load the folder at `path` (as the worker sees it), whose content must have `digest`.

    `kind` is "model" (or empty) or "adapter".
    """

    digest: Digest
    path: Path
    kind: Word = ""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A low-rank adapter by digest, and its weight in thousandths."""

    digest: Digest
    weight_milli: Annotated[int, Between(-100_000, 100_000)]


@dataclass(frozen=True, slots=True)
class InputRef:
    """Something that an attempt begins from: its kind, digest and bytes. `step` is a state's."""

    kind: Word
    sha256: Digest
    length: PictureSize
    step: U32 = 0


@dataclass(frozen=True, slots=True)
class Input:
    """Node to worker: bytes of the input at place `index` of an attempt's inputs, before its Run. In order, no gaps."""

    attempt: AttemptId
    index: U32
    offset: U32
    total: PictureSize
    data: ChunkBytes


@dataclass(frozen=True, slots=True)
class Run:
    """Node to worker: one attempt at pictures `first_picture` … `first_picture + count - 1` of a job.

    Picture i (counted over the whole job) uses seed + i modulo 2**64, and is computed alone. `guidance_milli` 1000
    means 1.0, no guidance. An empty `scheduler` or `precision` is the model's or the worker's own. The schedule has
    `skip` + `steps` steps, the first `skip` of which are not done. `first_step` steps of the first picture are done
    already, and its state input says how it stood; `trace` asks for a State before each Step. With a `last_step` other
    than 0, and fewer than `steps`, the attempt is of one picture and ends after that step, with Done and no picture.
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
    skip: U32 = 0
    inputs: Annotated[tuple[InputRef, ...], Items(limits.RUN_INPUTS_MAX)] = ()
    first_step: U32 = 0
    trace: bool = False
    last_step: U32 = 0

    @property
    def end_step(self) -> int:
        """The step after which it ends: `steps` for one whose pictures are finished."""
        return self.last_step if 0 < self.last_step < self.steps else self.steps


@dataclass(frozen=True, slots=True)
class Replay:
    """Node to worker: judge the step of somebody's run that leads from state `step` to state `step` + 1.

    `run` is as it was ordered, with the trace's opened states and the delivered picture among its inputs. The answer
    is Replayed or Failed.
    """

    run: Run
    step: U32


@dataclass(frozen=True, slots=True)
class Measure:
    """Node to worker: do an attempt `rounds` times, telling nothing but how long it took. Measured or Failed."""

    run: Run
    rounds: Annotated[int, Between(1, 1000)]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Node to worker: end this attempt at the next step, or never begin it. The answer is Failed or Done."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Stop:
    """Node to worker: exit once what was asked before is done."""
