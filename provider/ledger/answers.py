"""What the ledger says. Rule: every answer is signed, names the document that it answers, and carries its time.

Answers to orders are kept and given again verbatim, perhaps years later, so they never expire; they bind nobody twice,
because they name the one order that they answer. Answers to queries are about now, and live five minutes.
"""

from __future__ import annotations

from gpufair.protocol import limits
from gpufair.protocol.book import Funds, HoldRow, Order
from gpufair.protocol.envelope import Signed
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import (
    Balance,
    Captured,
    Decline,
    Document,
    Envelope,
    Head,
    Hold,
    HoldState,
    JournalHead,
    Posted,
    Query,
    Reason,
)
from gpufair.provider.ledger.batch import Newest
from gpufair.provider.ledger.store import Account


def held(desk: Desk, order: Signed[Order], hold: HoldRow, event: int) -> Envelope:
    """The funds are reserved: for the payer, who shows it to the payee."""
    head = _lasting(desk, order, hold.payer, hold.payee)
    doc = Hold(head, hold.lease, hold.payer, hold.payee, hold.amount, hold.expires_at_ms, event)
    return desk.sign(doc).envelope


def captured(desk: Desk, order: Signed[Order], hold: HoldRow, paid: int, event: int) -> Envelope:
    """What a capture paid, and where the hold stands; `event` 0 where nothing moved."""
    head = _lasting(desk, order, hold.payee, hold.payer)
    doc = Captured(head, hold.lease, paid, hold.captured, hold.released, hold.closed, event)
    return desk.sign(doc).envelope


def posted(desk: Desk, order: Signed[Order], account: str, funds: Funds, event: int) -> Envelope:
    """A pay, issue or redemption is booked; `funds` are those of `account` after it."""
    head = _lasting(desk, order, order.issuer, *({account} - {order.issuer}))
    return desk.sign(Posted(head, event, account, funds.available, funds.held)).envelope


def declined(desk: Desk, document: Signed[Document], reason: Reason) -> Envelope:
    """Nothing was changed, and this order will never change anything: a new one needs a new id."""
    return desk.sign(Decline(_lasting(desk, document, document.issuer), (reason,), None)).envelope


def balance(desk: Desk, query: Signed[Query], account: Account) -> Envelope:
    """An account's funds as of the newest event."""
    funds = account.funds
    doc = Balance(_fresh(desk, query), account.did, funds.available, funds.held, account.earning, account.event)
    return desk.sign(doc).envelope


def hold_state(desk: Desk, query: Signed[Query], hold: HoldRow, keys: tuple[bytes, ...]) -> Envelope:
    """A hold as it is now, with the keys that its captures have shown."""
    doc = HoldState(_fresh(desk, query), hold.lease, hold.payer, hold.payee, hold.amount, hold.captured, hold.released,
                    hold.closed, hold.expires_at_ms, keys)  # fmt: skip
    return desk.sign(doc).envelope


def journal_head(desk: Desk, audience: str, newest: Newest, parent: bytes = b"") -> Signed[JournalHead]:
    """The ledger's word for the end of its chain."""
    return desk.sign(JournalHead(desk.head(audience, parent=parent), newest.sequence, newest.hash))


def _fresh(desk: Desk, query: Signed[Query]) -> Head:
    return desk.head(query.issuer, parent=query.id)


def _lasting(desk: Desk, document: Signed[Document], *audience: str) -> Head:
    return desk.head(*audience, parent=document.id, expires_at_ms=limits.TIME_MAX_MS)
