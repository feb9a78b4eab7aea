"""Evidence that others bring. Rule: a seller or ledger is banned for what was proved here, once: a lifted ban holds.

What only a replay can judge bans nobody; it is told to whoever looks (`doubts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpufair.client.market.sources import Answer, Trouble
from gpufair.client.wallet import bans
from gpufair.protocol import envelope as dsse
from gpufair.protocol import evidence, limits
from gpufair.protocol.edge.peers import DirectoryPeer
from gpufair.protocol.edge.refusals import RemoteRefusal
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.evidence import Proof
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.messages import Evidence

_BYTES_MAX = 4 * limits.MIB
"""Of evidence that is read from one directory at a time."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A failed audit that somebody reports of a seller: whoever has the model can find out."""

    source: str
    evidence: Signed[Evidence]

    @property
    def accused(self) -> str:
        """Whom it is about."""
        return self.evidence.doc.accused


def open_questions(store: RowStore, dids: Iterable[str]) -> list[str]:
    """Those of some sellers and ledgers whom evidence could still tell us anything about."""
    with store.read() as rows:
        return [did for did in dict.fromkeys(dids) if not bans.is_settled(rows, did)]


async def read_evidence(directory: DirectoryPeer, dids: Sequence[str], answer: Answer) -> None:
    """Ask a directory what it has against these. One that knows no such question has nothing to say."""
    size = 0
    try:
        for start in range(0, len(dids), limits.FIND_MAX):
            async for document in directory.all_evidence(dids[start : start + limits.FIND_MAX]):
                size += len(document.payload)
                if size > _BYTES_MAX:
                    what = f"shows more than {_BYTES_MAX // limits.MIB} MiB of evidence; the rest is left"
                    answer.troubles.append(Trouble(answer.source, what))
                    return
                answer.evidence.append(document)
    except RemoteRefusal as error:
        if error.fault is not Fault.UNKNOWN:
            raise


def convict(rows: Rows, answers: Iterable[Answer], now_ms: int) -> tuple[list[Trouble], list[Doubt]]:
    """Judge what was brought: who is convicted is banned here and now. What is told to the buyer, and what is open."""
    told, doubts = list[Trouble](), list[Doubt]()
    for answer in answers:
        for document in answer.evidence:
            try:
                signed = dsse.receive(
                    document, Evidence, me=BROADCAST, now_ms=now_ms, lifetime_max_ms=limits.EVIDENCE_TTL_MS
                )
            except PeerError as error:
                told.append(Trouble(answer.source, f"evidence: {error.what}", error.fault))
                continue
            accused, judgement = signed.doc.accused, evidence.judge(signed.doc)
            if judgement.proof is Proof.DISPROVED:
                told.append(Trouble(answer.source, f"evidence that proves nothing: {judgement.what}", Fault.MALFORMED))
            elif judgement.proof is Proof.REPLAY:
                doubts.append(Doubt(answer.source, signed))
            elif bans.convict(rows, accused, judgement.what, now_ms):
                told.append(Trouble(answer.source, f"{accused} is banned from now on: {judgement.what}"))
    return told, doubts
