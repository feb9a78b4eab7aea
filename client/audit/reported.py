"""Failed audits that others report. Rule: the step is done again here, and only what that shows has consequences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpufair.client.audit.auditor import check, failure
from gpufair.client.failures import VerificationError
from gpufair.client.wallet import bans
from gpufair.protocol.auditing import Table
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import Verdict


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a report: its verdict here (none: it can't be judged here), and why."""

    accused: str
    verdict: Verdict | None
    why: str

    @property
    def convicts(self) -> bool:
        """Whether nothing more is bought from whom it is about."""
        return self.verdict is Verdict.FAILED


async def judge_reported(
    store: RowStore, accused: str, file: bytes, table: Table, now_ms: int, *, folder: Path | None = None
) -> Reported:
    """Judge the file of an audit that somebody reports of a provider. If it fails here too, the provider is banned."""
    try:
        audited = await check(file, table, folder=folder)
    except VerificationError as error:
        return Reported(accused, Verdict.UNANSWERED, f"it proves nothing: {error.what}")
    except LocalError as error:
        return Reported(accused, None, f"it can't be judged here: {error.what}")
    if audited.verdict is not Verdict.FAILED or audited.case.provider != accused:
        return Reported(accused, audited.verdict, "the step that was drawn was done as it should be")
    why = f"the audit of another buyer fails here too: {failure(audited.judgement)}"
    with store.begin() as rows:
        bans.ban(rows, accused, why, now_ms)
    return Reported(accused, Verdict.FAILED, why)
