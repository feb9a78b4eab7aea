"""What an audit asks, and what it comes to. Rule: from the same documents everybody draws the same step and verdict.

Before anything is made, the client commits to a nonce; afterwards, root and nonce draw one step that neither side could
choose. The provider opens the states around it, a worker does that step again, and what differs is held against what
honest machines were measured to differ by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpufair.protocol import trace
from gpufair.protocol.messages import Precision, Receipt
from gpufair.protocol.messages.audit import AuditAnswer, Check, Finding, Opening, Profile, State, Verdict

_DRAW = b"gpufair/audit-step/v1\x00"
INCOMPARABLE = 2**62
"""An error that no limit admits: other shapes, no numbers. A worker says 2**64 - 1; a finding can hold this much."""
FULL = "float32"
DTYPES = {Precision.EXACT: (FULL,), Precision.SINGLE: (FULL,), Precision.HALF: ("bfloat16", "float16")}
"""What a denoiser may compute in under each precision that is sold."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How far apart replay and claim are, or may be, in thousand-millionths (see `frame_answers.Replayed`)."""

    start: int
    step: int
    picture: int


NOTHING = Errors(0, 0, 0)
"""Within one runtime profile, one picture at a time, every bit is the same."""

Pair = tuple[str, str]
"""The classes of two runtime profiles (`Profile.kind`): the provider's, the verifier's."""
Table = Mapping[Pair, Errors]
"""What honest machines were measured to differ by, with a margin."""


# --- the question ----------------------------------------------------------------------------------------------------


def commitment(nonce: bytes) -> bytes:
    """What a job's header says of its nonce."""
    return hashlib.sha256(nonce).digest()


def drawn(root: bytes, nonce: bytes, steps: int) -> int:
    """The step to audit: 0 … steps - 1, each as likely, from the trace's root and the nonce.

    It is counted from the trace's first state, as the steps are.
    """
    return int.from_bytes(hashlib.sha256(_DRAW + root + nonce).digest(), "big") % steps


def to_open(step: int, steps: int) -> tuple[int, ...]:
    """The states that show a step: where it began, itself before and after, and the last."""
    return tuple(sorted({0, step, step + 1, steps}))


# --- the answer ------------------------------------------------------------------------------------------------------


def answer_faults(answer: AuditAnswer, receipt: Receipt, nonce: bytes) -> list[str]:
    """What is wrong with a signed answer in itself: it then convicts its signer, whatever a replay would show.

    The trace of a picture that went on from a checkpoint begins with that state: leaf 0 is that of step `spec.done`.
    """
    first, steps = receipt.spec.done, receipt.leaf_count - 1
    place = drawn(receipt.trace_root, nonce, steps) if steps else 0
    step, asked = first + place, [first + one for one in to_open(place, steps)]
    opened = [opening.step for opening in answer.openings]
    same = (answer.lease, answer.job, answer.picture) == (receipt.lease, receipt.job, receipt.picture)
    checks = [
        (same, "it is for another picture"),
        (steps > 0 and answer.step == step, f"it shows step {answer.step} where {step} was drawn"),
        (opened == asked, f"it opens the states {opened}, asked for were {asked}"),
        (answer.profile.digest == receipt.profile, "its runtime profile is not the receipt's"),
    ]
    return [fault for holds, fault in checks if not holds] + [
        f"the opening of state {one.step} does not lead to the receipt's root"
        for one in answer.openings
        if not trace.verify(receipt.trace_root, receipt.leaf_count, one.step - first, one.leaf, one.path)
    ]


def is_behind(opening: Opening, state: State) -> bool:
    """Whether these are the bytes that an opened leaf commits to."""
    data = state.data
    same = state.step == opening.step and len(data) == opening.length and len(data) % 4 == 0
    return same and trace.leaf(state.step, data) == opening.leaf


# --- the verdict -----------------------------------------------------------------------------------------------------


def sold_as(precision: Precision, profile: Profile) -> bool:
    """Whether a profile computes in what the job was sold as."""
    return profile.dtype in DTYPES.get(precision, (FULL,))


def bounds(table: Table, precision: Precision, provider: Profile, verifier: Profile) -> Errors | None:
    """What may differ between two profiles; None where nobody has measured it."""
    if precision is Precision.EXACT and provider.digest == verifier.digest:
        return NOTHING
    return table.get((provider.kind, verifier.kind))


def judge(measured: Errors, limit: Errors) -> tuple[Finding, ...]:
    """Each measurement against its limit."""
    pairs = (
        (Check.START, measured.start, limit.start),
        (Check.STEP, measured.step, limit.step),
        (Check.PICTURE, measured.picture, limit.picture),
    )
    return tuple(Finding(check, found <= most, min(found, INCOMPARABLE), most) for check, found, most in pairs)


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Passed if every check holds; without any, nothing was answered."""
    if not findings:
        return Verdict.UNANSWERED
    return Verdict.PASSED if all(finding.holds for finding in findings) else Verdict.FAILED
