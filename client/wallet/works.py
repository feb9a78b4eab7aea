"""Which of a picture's tries may be signed for. Rule: one at a time, decided in the transaction that signs.

Two providers may draw the same picture of a batch, so that one of them being slow doesn't hold up all. Whichever is
whole first is bought, and nothing is signed for the other. A job that another one goes on with is over for good.
"""

from __future__ import annotations

from gpufair.client.wallet import sequels
from gpufair.client.wallet.batches import BatchLeaseRow, TryRow
from gpufair.client.wallet.deliveries import DeliveryKey
from gpufair.protocol.edge.rows import Rows


def is_wanted(rows: Rows, lease: bytes, job: bytes) -> bool:
    """Whether a delivery of this job may be signed for, as far as other tries of the same picture go."""
    if sequels.of(rows, lease, job):
        return False
    mine = rows.get(TryRow, lease=lease, job=job)
    if mine is None:
        return True
    if mine.off or is_over(rows, lease):
        return False
    others = rows.all(TryRow, batch=mine.batch, place=mine.place, doubtful=False)
    return not any(is_bought(rows, one) for one in others if one != mine)


def is_over(rows: Rows, lease: bytes) -> bool:
    """Whether a batch has given up this lease."""
    taken = rows.get(BatchLeaseRow, lease=lease)
    return taken is not None and taken.over


def is_bought(rows: Rows, one: TryRow) -> bool:
    """Whether the picture of a try was signed for."""
    return bool(rows.all(DeliveryKey, lease=one.lease, job=one.job, step=0, locked=True))
