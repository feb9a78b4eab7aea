"""What travels inside an `Execute` stream. Rule: whatever moves money or is evidence is a signed envelope, verbatim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gpufair.protocol import fields as f
from gpufair.protocol import limits
from gpufair.protocol.messages.common import Envelope

Picture = Annotated[int, f.Range(0, limits.COUNT_MAX - 1)]
Checkpoint = Annotated[int, f.Range(0, limits.STEPS_MAX)]
"""Which delivery of a picture: the checkpoint after so many steps; 0: the picture itself."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The provider's first message: fresh, to be signed by the client together with the certificate's digest."""

    nonce: f.Digest


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is the lease's. `kept` is the voucher that the provider keeps (empty before the first)."""

    kept: f.MaybeEnvelopeBytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A signed answer to a job: `JobAcceptance`, `Decline` or `JobEnded`; its payload type says which.

    To a `Reserve`, whose id stands for the job's: `Reserved`, `Decline` or `ReserveEnded`.
    """

    job: f.Id
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Beat:
    """The provider is alive and has the job: said every `limits.BEAT_MS` while it waits or runs.

    `ahead` are the jobs that go before it (0: it is at work), `left_ms` about how long it will take (0: unknown).
    """

    job: f.Id
    ahead: f.Small
    left_ms: f.Count = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """A step is done. `leaf` is the trace leaf after it; step 0 is the noise that the picture starts from.

    A picture that goes on from a checkpoint begins with the step that it goes on from.
    """

    job: f.Id
    picture: Picture
    step: f.Small
    steps: f.Small
    leaf: f.Digest


@dataclass(frozen=True, slots=True)
class Preview:
    """A small look at the picture on its way: at most a quarter of each side, none in the last quarter of the steps."""

    job: f.Id
    picture: Picture
    step: f.Small
    png: Annotated[bytes, f.Size(1, limits.PREVIEW_MAX)]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery begins: its receipt. Its ciphertext follows in chunks."""

    job: f.Id
    picture: Picture
    receipt: Envelope
    step: Checkpoint = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a delivery's ciphertext."""

    job: f.Id
    picture: Picture
    offset: f.Count
    data: Annotated[bytes, f.Size(1, limits.CHUNK)]
    step: Checkpoint = 0


@dataclass(frozen=True, slots=True)
class KeyReveal:
    """The key of a delivery that the kept voucher pays for."""

    job: f.Id
    picture: Picture
    key: f.Key
    step: Checkpoint = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """The provider's answer to a voucher: the one it keeps."""

    voucher: f.MaybeEnvelopeBytes


@dataclass(frozen=True, slots=True)
class Closing:
    """The provider has committed the lease's closing: it takes no voucher and reveals no key from now on."""

    reason: f.Text


@dataclass(frozen=True, slots=True)
class Open:
    """The client's first message: a signed `StreamOpen`."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Order:
    """A signed `JobHeader`, `Voucher`, `Cancel`, `Reserve` or `Finish`; its payload type says which."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Body:
    """A piece of a job's sealed body, sent once the provider has signed its acceptance and the up-front voucher is out.

    In order, all but the last of `limits.CHUNK` bytes; the header says how many there are in all.
    """

    job: f.Id
    sealed: Annotated[bytes, f.Size(1, limits.CHUNK)]
    offset: Annotated[int, f.Range(0, limits.SEALED_MAX)] = 0


@dataclass(frozen=True, slots=True)
class StatePiece:
    """A piece of a state that an audit's answer opens; all but the last have `limits.CHUNK` bytes."""

    step: f.Small
    offset: Annotated[int, f.Range(0, limits.STATE_MAX)]
    data: Annotated[bytes, f.Size(1, limits.CHUNK)]


Down = Challenge | Opened | Answer | Progress | Preview | Delivery | Chunk | KeyReveal | Kept | Closing | Beat
Up = Open | Order | Body
