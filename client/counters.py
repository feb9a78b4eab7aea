"""Every ledger that a buyer deals with. Rule: one that doesn't answer is named with its reason, never left out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gpufair.client.buyer import Buyer
from gpufair.client.config import DAY_MS
from gpufair.client.wallet import budget, pairs
from gpufair.client.wallet.purchases import ledger_of
from gpufair.client.wallet.store import LeaseRow, SequenceRow
from gpufair.protocol import evidence, wire
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import FairError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.journal import Audit, Auditor
from gpufair.protocol.messages import Balance, Envelope, Hold, LedgerRef

_JOURNAL = "journal"
"""How the wallet keeps, beside the sequences of sellers, the newest head of each ledger that an audit came to."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A ledger, and what it says that we have; None with the reason where it doesn't say."""

    ref: LedgerRef
    balance: Balance | None
    error: str = ""


def used(buyer: Buyer) -> tuple[LedgerRef, ...]:
    """The ledgers of our leases, the newest address of each."""
    with buyer.store.read() as rows:
        leases = rows.all(LeaseRow, order="created_ms")
    return tuple({lease.ledger: ledger_of(lease) for lease in leases}.values())


async def balances(buyer: Buyer) -> list[Counter]:
    """What we have at every ledger that we have used, or that somebody on the market wants to be paid at."""
    known = {ref.did: ref for ref in used(buyer)}
    try:
        for offer in (await buyer.market()).offers:
            for ref in offer.doc.ledgers:
                known.setdefault(ref.did, ref)
    except FairError:
        if not known:
            raise
    return list(await asyncio.gather(*(_ask(buyer, ref) for ref in list(known.values())[:32])))


async def audit(buyer: Buyer, ref: LedgerRef) -> tuple[Audit, Auditor]:
    """Audit a ledger's journal as far as we may see it; events that it has named to us may not be hidden.

    The head of a good journal is kept, and the next one must lead through it. A ledger that signed two heads of one
    sequence is banned, and both are kept.
    """
    with buyer.store.read() as rows:
        leases = rows.all(LeaseRow, ledger=ref.did)
        known = rows.get(SequenceRow, did=ref.did, kind=_JOURNAL)
    expected = [from_bytes(lease.hold, Hold).doc.event for lease in leases if lease.hold]
    before = wire.decode(Envelope, known.document) if known is not None else None
    report, auditor = await buyer.ledgers.audit(await buyer.ledgers.meet(ref), expected, before)
    with buyer.store.begin() as rows:
        if auditor.two_heads is not None:
            found = evidence.two_heads(buyer.desk.head(BROADCAST), *auditor.two_heads)
            pairs.keep(rows, found, buyer.desk.now_ms())
        elif report.ok and report.sequence and auditor.newest_head is not None:
            rows.save(SequenceRow(ref.did, _JOURNAL, report.sequence, wire.encode(auditor.newest_head)))
    return report, auditor


def today(buyer: Buyer) -> int:
    """What the last 24 hours have cost, or still can."""
    now = buyer.desk.now_ms()
    with buyer.store.read() as rows:
        return budget.spent_since(rows, now - DAY_MS, now)


async def _ask(buyer: Buyer, ref: LedgerRef) -> Counter:
    try:
        peer = await buyer.ledgers.meet(ref)
        return Counter(ref, (await buyer.ledgers.balance(peer)).doc)
    except FairError as error:
        return Counter(ref, None, error.what)
