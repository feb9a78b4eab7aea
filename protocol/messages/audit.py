"""The proof of the work, asked for afterwards. Rule: every word of an audit is signed by whoever says it.

Nothing here is believed: a report goes with a file (`AuditFile`) from which anyone can come to it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from gpufair.protocol import fields as f
from gpufair.protocol import limits, profiles
from gpufair.protocol.messages.common import Document
from gpufair.protocol.messages.stream import Picture

Step = Annotated[int, f.Range(0, limits.STEPS_MAX)]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a result depends on, as a worker states it (`frame_answers.RuntimeProfile`); its digest is in receipts."""

    python: f.MaybeName
    torch: f.MaybeName
    diffusers: f.MaybeName
    transformers: f.MaybeName
    wheel: f.MaybeName
    device_kind: f.MaybeName
    device_name: f.MaybeName
    dtype: f.MaybeName
    flags: Annotated[tuple[f.MaybeName, ...], f.Size(0, limits.PROFILE_FLAGS_MAX)]

    @property
    def digest(self) -> bytes:
        """What receipts name it by."""
        return profiles.digest(self)

    @property
    def kind(self) -> str:
        """The class within which results differ by rounding alone, such as `cpu/float32`."""
        return f"{self.device_kind}/{self.dtype}"


@dataclass(frozen=True, slots=True)
class Audit(Document):
    """The client asks for proof of one step of a paid delivery (audience: its provider).

    `nonce` is what the job's header committed to. The step follows from it and the receipt's trace root.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.audit.v1+protobuf"

    lease: f.Digest
    job: f.Id
    picture: Picture
    nonce: f.Key


@dataclass(frozen=True, slots=True)
class Opening:
    """One leaf of a trace opened: `length` bytes of state lie behind it, and `path` leads from it to the root."""

    step: Step
    length: Annotated[int, f.Range(1, limits.STATE_MAX)]
    leaf: f.Digest
    path: Annotated[tuple[f.Digest, ...], f.Size(0, limits.PATH_MAX)]


@dataclass(frozen=True, slots=True)
class AuditAnswer(Document):
    """What it ran on, and the states before and after step `step`, beside the first and the last (`head.parent`: the
    audit). The states' bytes follow in pieces.
    """

    TYPE: ClassVar[str] = "application/vnd.gpufair.audit-answer.v1+protobuf"

    lease: f.Digest
    job: f.Id
    picture: Picture
    step: Step
    profile: Profile
    openings: Annotated[tuple[Opening, ...], f.Size(1, 4)]


class Check(IntEnum):
    """What an audit looks at: the trace's proofs, the start, the step that was drawn, the picture at the end."""

    UNSPECIFIED = 0
    PROOFS = 1
    START = 2
    STEP = 3
    PICTURE = 4


class Verdict(IntEnum):
    """What an audit came to."""

    UNSPECIFIED = 0
    PASSED = 1
    FAILED = 2
    UNANSWERED = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was measured, and what would have passed, in thousand-millionths."""

    check: Check
    holds: bool
    measured_nano: f.Count = 0
    limit_nano: f.Count = 0
    detail: f.Text = ""


@dataclass(frozen=True, slots=True)
class AuditReport(Document):
    """The auditor's result (audience `*`). `receipt` is the id of the receipt that was audited."""

    TYPE: ClassVar[str] = "application/vnd.gpufair.audit-report.v1+protobuf"

    receipt: f.Digest
    step: Step
    verdict: Verdict
    findings: Annotated[tuple[Finding, ...], f.Size(0, 8)]
    provider_profile: f.Digest
    verifier: Profile | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the leaf of `step` commits to: latents, then what the scheduler carries on; fp32 little-endian NCHW."""

    step: Step
    data: Annotated[bytes, f.Size(1, limits.STATE_MAX)]


@dataclass(frozen=True, slots=True)
class AuditFile:
    """All that a third party needs to judge an audit offline. Envelopes are verbatim; empty: there is none."""

    header: f.EnvelopeBytes
    acceptance: f.EnvelopeBytes
    receipt: f.EnvelopeBytes
    audit: f.EnvelopeBytes
    answer: f.MaybeEnvelopeBytes
    report: f.MaybeEnvelopeBytes
    body: Annotated[bytes, f.Size(0, limits.SEALED_MAX)]
    png: Annotated[bytes, f.Size(0, limits.OUTPUT_MAX)]
    states: Annotated[tuple[State, ...], f.Size(0, 4)] = ()
