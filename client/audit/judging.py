"""From an audit's documents to its verdict. Rule: the same documents are judged the same, by whoever asked or reads.

What a provider signed and got wrong is judged without doing anything again. Only what holds so far is worth a replay.
"""

from __future__ import annotations

import hashlib
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gpufair.client.audit import models
from gpufair.client.audit.asking import is_whole
from gpufair.client.audit.evidence import Case
from gpufair.client.audit.worker import like
from gpufair.protocol import auditing, frames, limits, ordering
from gpufair.protocol.auditing import Errors, Table
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.frames import InputRef, Replay
from gpufair.protocol.messages import Check, Finding, InputKind, Verdict
from gpufair.protocol.messages.audit import AuditAnswer, Profile


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an audit came to, and what the step was done again on, if it was."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    verifier: Profile | None = None


def unanswered(why: str) -> Judgement:
    """Nothing that anybody signed says how the picture was made, and why."""
    return Judgement(Verdict.UNANSWERED, (Finding(Check.PROOFS, holds=False, detail=why[: limits.TEXT_MAX]),))


async def judge(case: Case, table: Table, folder: Path | None) -> Judgement:
    """Judge a case; `folder` is where its model is looked for first.

    Raises LocalError where it can't be judged here: no model, no torch, no row of the table for the two profiles.
    """
    if case.answer is None:
        return unanswered("the provider gave no answer")
    answer = case.answer.doc
    if wrong := _wrong_answer(case, answer):
        return Judgement(Verdict.FAILED, (Finding(Check.PROOFS, holds=False, detail=wrong[: limits.TEXT_MAX]),))
    if not is_whole(answer, case.file.states):
        return unanswered("the states that came are not those behind the leaves that were signed")
    if wrong := _wrong_start(case):
        return Judgement(Verdict.FAILED, (Finding(Check.START, holds=False, detail=wrong),))
    measured, verifier = await _replayed(case, answer, folder)
    limit = auditing.bounds(table, case.header.doc.spec.precision, answer.profile, verifier)
    if limit is None:
        what = f"nobody has measured how far {answer.profile.kind} and {verifier.kind} may be apart"
        raise LocalError(Fault.UNKNOWN, what, hint="measure it (docs/audit.md), and give the row with --tolerances")
    findings = (Finding(Check.PROOFS, holds=True), *auditing.judge(measured, limit))
    return Judgement(auditing.verdict(findings), findings, verifier)


def _wrong_answer(case: Case, answer: AuditAnswer) -> str:
    """What convicts the provider by its own signature."""
    faults = auditing.answer_faults(answer, case.receipt.doc, case.audit.doc.nonce)
    precision = case.header.doc.spec.precision
    if not auditing.sold_as(precision, answer.profile):
        faults.append(f"sold as {precision.name.lower()}, it was computed in {answer.profile.dtype}")
    return "; ".join(faults)


def _wrong_start(case: Case) -> str:
    """Whether a picture that went on from a checkpoint began with another state than the one that its order names."""
    given = next((one.data for one in case.body.inputs if one.kind is InputKind.STATE), None)
    if given is None or given == case.file.states[0].data:
        return ""
    return "it did not begin with the state that it was given to go on from"


async def _replayed(case: Case, answer: AuditAnswer, folder: Path | None) -> tuple[Errors, Profile]:
    """Do the step again on this machine."""
    spec, file = case.header.doc.spec, case.file
    run = ordering.run(answer.head.id, case.header.doc, case.body, answer.picture)
    # The state to go on from is among those that the answer opens: it is the first of them.
    own = [one.data for one in case.body.inputs if one.kind is not InputKind.STATE]
    named = tuple(ref for ref in run.inputs if ref.kind != frames.STATE)
    states = [InputRef(frames.STATE, _sha256(one.data), len(one.data), one.step) for one in file.states]
    shown = InputRef(frames.PICTURE, _sha256(file.png), len(file.png))
    order = Replay(replace(run, inputs=(*named, *states, shown)), answer.step)
    async with AsyncExitStack() as needed:
        model = needed.enter_context(models.found(spec.model, folder))
        adapters = [(one.digest, needed.enter_context(models.found(one.digest, folder))) for one in spec.adapters]
        worker = await needed.enter_async_context(like(answer.profile))
        await worker.load(spec.model, model)
        for digest, adapter in adapters:
            await worker.load(digest, adapter, frames.ADAPTER)
        told = await worker.replay(order, [*own, *(one.data for one in file.states), file.png])
        return Errors(told.start_nano, told.step_nano, told.picture_nano), Profile(**asdict(worker.profile))


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
