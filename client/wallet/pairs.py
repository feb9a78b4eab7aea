"""Two documents that must not both exist. Rule: they are on disk in the transaction that bans whoever signed them."""

from __future__ import annotations

from collections.abc import Iterator

from gpufair.client.wallet import bans
from gpufair.client.wallet.store import PairRow
from gpufair.protocol import evidence, wire
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.evidence import Proof
from gpufair.protocol.messages import Crime, Envelope, Evidence, Head

_MADE_BY = {Crime.TWO_BROADCASTS: evidence.two_broadcasts, Crime.TWO_HEADS: evidence.two_heads}


def keep(rows: Rows, found: Evidence, now_ms: int) -> str:
    """Keep a pair that convicts and ban whom it convicts, both once. Why, in words; empty if nobody is banned by it."""
    judgement = evidence.judge(found)
    if judgement.proof is not Proof.PROVED or rows.get(PairRow, did=found.accused, crime=int(found.crime)) is not None:
        return ""
    one, other = found.documents
    rows.insert(PairRow(found.accused, int(found.crime), one, other))
    return judgement.what if bans.convict(rows, found.accused, judgement.what, now_ms) else ""


def pieces(rows: Rows, head: Head) -> Iterator[Evidence]:
    """Every pair as evidence that begins with `head`."""
    for row in rows.all(PairRow):
        one, other = (wire.decode(Envelope, data) for data in (row.one, row.other))
        yield _MADE_BY[Crime(row.crime)](head, one, other)
