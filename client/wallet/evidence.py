"""What proves that somebody broke the deal. Rule: it is on disk in the transaction that says so.

A delivery whose key opened something else is its own evidence, in its row: receipt, ciphertext, key. Here is what is
found out earlier, and so was never locked or paid: a receipt with its ciphertext, an acceptance, a ledger's answer.
"""

from __future__ import annotations

from gpufair.client.wallet.store import EvidenceNote, EvidenceRow
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import Signed
from gpufair.protocol.messages import Document


def keep(
    rows: Rows, lease: bytes, what: str, document: Signed[Document], *, job: bytes = b"", cipher: bytes = b""
) -> None:
    """Keep a signed document that proves `what`, once a job; without a job it is the ledger's, once a lease."""
    if rows.get(EvidenceNote, lease=lease, job=job) is None:
        rows.insert(EvidenceRow(lease, job, what, document.bytes, cipher))
