"""Auditing what was bought. Rule: nothing is revealed before it can be judged, and no verdict stands without its proof.

The nonce draws the step of every picture of its job: so it goes out only when all of them are here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from gpufair.client.audit import models
from gpufair.client.audit.asking import Answered, ask
from gpufair.client.audit.evidence import Case, open_case, read
from gpufair.client.audit.judging import Judgement, judge, unanswered
from gpufair.client.audit.worker import check_installed
from gpufair.client.failures import VerificationError
from gpufair.client.wallet import bans, purchases
from gpufair.client.wallet.purchase import Picture, Purchase
from gpufair.client.wallet.store import AuditRow, BodyRow, NonceRow
from gpufair.protocol import limits, wire
from gpufair.protocol.auditing import Table
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Audit, AuditFile, AuditReport, JobHeader, NodeRecord, Scheduler, Verdict

_ANSWER_S = 600


@dataclass(frozen=True, slots=True)
class Audited:
    """An audit that was made or read: its documents, and what they came to here."""

    case: Case
    judgement: Judgement
    banned: bool = False
    """Whether nothing more is bought from its provider, because of it."""

    @property
    def verdict(self) -> Verdict:
        """Passed, failed, or unanswered."""
        return self.judgement.verdict

    @property
    def file(self) -> bytes:
        """All that a third party needs to come to the same verdict (`AuditFile`)."""
        return wire.encode(self.case.file)


class Auditor:
    """Audits one wallet's purchases. `table` says what honest machines differ by."""

    def __init__(self, desk: Desk, store: RowStore, peers: Peers, table: Table) -> None:
        self._desk, self._store, self._peers, self._table = desk, store, peers, table

    async def audit(self, purchase: Purchase, index: int = 0, *, folder: Path | None = None) -> Audited:
        """Have picture `index` of a job proved, and judge the proof; `folder` is where its model is looked for first.

        The report is in the wallet when this returns; whoever failed is banned in the same transaction, and whoever was
        reached and would not prove a picture that it had just made: a cheat that was drawn has nothing better to do.
        Raises LocalError for what can't be audited, or not here; RemoteRefusal if the provider only wants to be asked
        later.
        """
        picture = _picture(purchase, index)
        purchase = self._part(purchase, picture)
        if purchase.spec.scheduler is Scheduler.OWN:
            what = "this model draws in its own way: its steps can't be done again one by one"
            raise LocalError(Fault.NOT_ALLOWED, what, hint="see docs/audit.md: what an audit can't show")
        nonce = self._nonce(purchase)
        check_installed()
        for digest in (purchase.spec.model, *(one.digest for one in purchase.spec.adapters)):
            with models.found(digest, folder):
                pass
        case = self._case(purchase, picture, nonce)
        try:
            peer = await self._peers.at(from_bytes(purchase.lease.record, NodeRecord))
            async with asyncio.timeout(_ANSWER_S):
                told = await ask(self._desk, peer.market, case.audit, case.provider)
        except TimeoutError:
            silent = unanswered(f"the answer did not end within {_ANSWER_S} s")
            return self._concluded(purchase, case, silent, evasive=True)
        except PeerUnreachable as error:
            return self._concluded(purchase, case, unanswered(error.what))
        except PeerError as error:
            if isinstance(error, RemoteRefusal) and error.fault in (Fault.LIMIT, Fault.UNAVAILABLE):
                raise
            said = "the provider says" if isinstance(error, RemoteRefusal) else "no answer"
            return self._concluded(purchase, case, unanswered(f"{said}: {error.what}"), evasive=True)
        case = _answered(case, told)
        judgement = await judge(case, self._table, folder)
        return self._concluded(purchase, case, judgement, evasive=judgement.verdict is Verdict.UNANSWERED)

    def _part(self, purchase: Purchase, picture: Picture) -> Purchase:
        """The job that brought a picture: another one than was ordered first, where the work went on elsewhere."""
        if (picture.lease, picture.job) == (purchase.lease.id, purchase.job.id):
            return purchase
        return purchases.by_id(self._store, picture.lease, picture.job)

    def _nonce(self, purchase: Purchase) -> bytes:
        with self._store.read() as rows:
            row = rows.get(NonceRow, lease=purchase.lease.id, job=purchase.job.id)
        header = from_bytes(purchase.job.header, JobHeader).doc
        if row is None or not header.plain_sha256:
            what = "this job was ordered by a version that did not know audits"
            raise LocalError(Fault.UNKNOWN, what, hint="what is bought from now on can be audited")
        return row.nonce

    def _case(self, purchase: Purchase, picture: Picture, nonce: bytes) -> Case:
        """The documents so far, the request with them."""
        receipt = purchases.receipt_of(picture)
        head = self._desk.head(receipt.issuer, parent=receipt.id)
        with self._store.read() as rows:
            row = rows.get(BodyRow, lease=purchase.lease.id, job=purchase.job.id)
        body = row.plain if row is not None else purchase.job.body
        audit = self._desk.sign(Audit(head, purchase.lease.id, purchase.job.id, picture.place, nonce))
        return open_case(
            AuditFile(
                header=purchase.job.header, acceptance=purchase.job.acceptance, receipt=picture.receipt,
                audit=audit.bytes, answer=b"", report=b"", body=body,
                png=purchases.png(self._store, picture),
            )
        )  # fmt: skip

    def _concluded(self, purchase: Purchase, case: Case, judgement: Judgement, *, evasive: bool = False) -> Audited:
        """Sign what it came to, keep it, and shut the door on whoever failed, or evades a fresh picture's proof."""
        report = self._report(case, judgement)
        file = replace(case.file, report=report.bytes)
        now, failed = self._desk.now_ms(), judgement.verdict is Verdict.FAILED
        is_fresh = now - case.receipt.doc.head.issued_at_ms <= limits.AUDIT_SOON_MS
        audited = Audited(open_case(file), judgement, banned=failed or (evasive and is_fresh))
        place = (purchase.lease.id, purchase.job.id, case.receipt.doc.picture)
        with self._store.begin() as rows:
            kept = audited.file if failed else b""
            rows.save(AuditRow(*place, judgement.verdict.name.lower(), now, report.bytes, kept))
            if audited.banned:
                ended = "failed" if failed else "was not answered"
                why = f"the audit of job {purchase.job.id.hex()[:12]} {ended}: {failure(judgement)}"
                bans.ban(rows, purchase.lease.provider, why, now)
        return audited

    def _report(self, case: Case, judgement: Judgement) -> Signed[AuditReport]:
        head = self._desk.head(BROADCAST, parent=case.audit.id, expires_at_ms=limits.TIME_MAX_MS)
        return self._desk.sign(
            AuditReport(
                head, case.receipt.id, case.step, judgement.verdict, judgement.findings, case.receipt.doc.profile,
                judgement.verifier,
            )
        )  # fmt: skip


async def check(data: bytes, table: Table, *, folder: Path | None = None) -> Audited:
    """Judge an audit's file anew, offline and from nothing. Raises VerificationError for one that does not hold.

    What nobody answered proves nothing: there only its auditor's word is to be had.
    """
    case = open_case(read(data))
    judgement = await judge(case, table, folder)
    if case.report is not None and case.report.doc.verdict is not judgement.verdict:
        told, found = (one.name.lower() for one in (case.report.doc.verdict, judgement.verdict))
        hint = "its auditor was wrong, or this machine is"
        raise VerificationError(f"the report says {told}, its documents say {found}", hint=hint)
    return Audited(case, judgement)


def failure(judgement: Judgement) -> str:
    """What did not hold, in a few words."""
    wrong = [finding for finding in judgement.findings if not finding.holds]
    return "; ".join(
        finding.detail or f"its {finding.check.name.lower()} is off by {finding.measured_nano / 1e9:.2g}"
        for finding in wrong
    )


def _answered(case: Case, told: Answered) -> Case:
    return replace(case, answer=told.answer, file=replace(case.file, answer=told.answer.bytes, states=told.states))


def _picture(purchase: Purchase, index: int) -> Picture:
    """The picture to audit. Raises LocalError if it, or another one of its job, may still come."""
    if not purchase.is_over:
        what = f"the job is {purchase.job.state}: its nonce draws the step of every picture that may still come"
        raise LocalError(Fault.CONFLICT, what, hint=f"bring it in first: gpufair fetch {purchase.job.id.hex()[:12]}")
    for picture in purchase.opened:
        if picture.index == index:
            return picture
    here = ", ".join(str(picture.index) for picture in purchase.opened) or "none"
    raise LocalError(Fault.UNKNOWN, f"picture {index} of this job is not here; here are: {here}")
