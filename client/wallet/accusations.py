"""What this wallet can prove against others. Rule: only what convinces our own judge is brought, and little of each.

Evidence is made anew from what is kept, and signed each time: who brings it means nothing to anybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpufair.client.wallet import pairs
from gpufair.client.wallet.deliveries import CheckpointRow, DeliveryRow, PictureRow
from gpufair.client.wallet.store import AuditRow, BanRow, SequenceRow
from gpufair.protocol import evidence, limits, trace, wire
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.evidence import Proof
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import AuditFile, Crime, Evidence, Head, Receipt, Verdict

_KIND = "accused"
"""How the wallet remembers, beside the sequences of sellers, whom it has accused, and in which epoch."""


def due(rows: Rows, desk: Desk) -> list[Signed[Evidence]]:
    """All that has not been brought yet, or not for long: at most one piece of each sort against each."""
    head, epoch = _head(desk), _epoch(desk.now_ms())
    # Whoever we can prove a cheat is banned: without bans there is nothing to look for.
    open_ = {ban.did for ban in rows.all(BanRow) if not _was_brought(rows, ban.did, epoch)}
    found: dict[tuple[str, bool], Signed[Evidence]] = {}
    for one in _made(rows, head) if open_ else ():
        key = (one.accused, one.crime is Crime.FAILED_AUDIT)
        if one.accused not in open_ or key in found or not evidence.fits(one):
            continue
        if evidence.judge(one).proof is not Proof.DISPROVED:
            found[key] = desk.sign(one)
    return list(found.values())


def _was_brought(rows: Rows, did: str, epoch: int) -> bool:
    row = rows.get(SequenceRow, did=did, kind=_KIND)
    return row is not None and row.sequence >= epoch


def brought(rows: Rows, piece: Signed[Evidence], now_ms: int) -> None:
    """Somebody took it: there is no need to bring it again before long."""
    rows.save(SequenceRow(piece.doc.accused, _KIND, _epoch(now_ms), piece.id))


def _made(rows: Rows, head: Head) -> Iterator[Evidence]:
    yield from pairs.pieces(rows, head)
    places = [(one.lease, one.job, one.picture, 0) for one in rows.all(PictureRow, keyed=True, size=0)]
    places += [(one.lease, one.job, one.picture, one.step) for one in rows.all(CheckpointRow, keyed=True, size=0)]
    for lease, job, picture, step in places:
        row = rows.get(DeliveryRow, lease=lease, job=job, picture=picture, step=step)
        if row is not None:
            yield _false_delivery(head, row)
    for audit in rows.all(AuditRow, verdict=Verdict.FAILED.name.lower()):
        if audit.file:
            receipt = from_bytes(wire.decode(AuditFile, audit.file).receipt, Receipt)
            yield evidence.failed_audit(head, receipt.issuer, audit.file)


def _false_delivery(head: Head, row: DeliveryRow) -> Evidence:
    receipt = from_bytes(row.receipt, Receipt).envelope
    if not row.leaves:
        return evidence.noise(head, receipt, row.cipher, row.key)
    leaves = [row.leaves[at : at + trace.DIGEST_BYTES] for at in range(0, len(row.leaves), trace.DIGEST_BYTES)]
    return evidence.false_leaf(head, receipt, row.cipher, row.key, leaves)


def _head(desk: Desk) -> Head:
    return desk.head(BROADCAST, expires_at_ms=desk.now_ms() + limits.EVIDENCE_TTL_MS)


def _epoch(now_ms: int) -> int:
    return max(1, now_ms // limits.EVIDENCE_EPOCH_MS)
