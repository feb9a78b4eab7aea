"""The operator's audit. Rule: the tables are believed in nothing: the journal is executed again and they must agree.

`protocol.journal` re-verifies every signature, leg and link from the first event on; this adds what only the operator
can see: that the balances, holds, postings and requests in the tables are the fold of those events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import sqlalchemy as sa

from gpufair.protocol.book import Funds, HoldRow
from gpufair.protocol.identity import short
from gpufair.protocol.journal import Audit, Auditor, Finding
from gpufair.protocol.messages import Bucket, EventKind
from gpufair.provider.ledger import batch
from gpufair.provider.ledger import tables as t
from gpufair.provider.ledger.ledger import Ledger
from gpufair.provider.ledger.store import Store


def audit(ledger: Ledger, store: Store) -> Audit:
    """Verify the whole book, while it is in use. Findings name the event, or 0 for a table that disagrees."""
    store.database.check()
    auditor = Auditor(ledger.did)
    while True:
        items, _ = store.page(auditor.sequence + 1, None)
        if not items:
            break
        auditor.feed(items)
    with store.database.read() as connection:
        # What was committed since the last page is fed inside the transaction in which the tables are read.
        rest = sa.select(t.events.c.document).where(t.events.c.sequence > auditor.sequence)
        auditor.feed(connection.execute(rest.order_by(t.events.c.sequence)).scalars())
        auditor.feed((), ledger.head(batch.newest(connection.exec_driver_sql)).envelope)
        findings = [Finding(0, what) for what in _disagreements(connection, auditor)]
    result = auditor.report()
    return replace(result, findings=(*result.findings, *findings))


def _disagreements(connection: sa.Connection, auditor: Auditor) -> Iterator[str]:
    rows = connection.execute(sa.select(t.accounts))
    accounts = {row.did: Funds(row.issued, row.available, row.held) for row in rows}
    for did in accounts.keys() | auditor.accounts.keys():
        if accounts.get(did, Funds()) != auditor.accounts.get(did, Funds()):
            yield f"the balance of {short(did)} is {accounts.get(did)}, its events say {auditor.accounts.get(did)}"
    holds = {row.lease: HoldRow(*row) for row in connection.execute(sa.select(t.holds))}
    for lease in holds.keys() | auditor.holds.keys():
        if holds.get(lease) != auditor.holds.get(lease):
            yield f"the hold of lease {lease.hex()[:16]} differs from its events"
    for did, funds in _fold(connection).items():
        if funds != auditor.accounts.get(did, Funds()):
            yield f"the postings of {short(did)} add up to {funds}, its events to {auditor.accounts.get(did)}"
    orders = sa.select(sa.func.count()).select_from(t.events).where(t.events.c.kind != int(EventKind.EXPIRED))
    kept = sa.select(sa.func.count(sa.distinct(t.requests.c.sequence)))
    if connection.execute(orders).scalar_one() != connection.execute(kept).scalar_one():
        yield "an executed order has no recorded answer: it could be executed twice"


def _fold(connection: sa.Connection) -> dict[str, Funds]:
    total = sa.func.sum(t.postings.c.amount)
    query = sa.select(t.postings.c.account, t.postings.c.bucket, total)
    folded: dict[str, Funds] = {}
    for did, bucket, amount in connection.execute(query.group_by(t.postings.c.account, t.postings.c.bucket)):
        name = Bucket(bucket).name.lower()
        folded[did] = replace(folded.get(did, Funds()), **{name: amount})
    return folded
