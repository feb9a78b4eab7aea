"""Who may see what. Rule: an account's affairs are for itself, the other party of a lease, the operator and auditors.

A query changes nothing, so the same bytes again get a fresh answer; other bytes under a known id are refused.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.journal import JournalPage
from gpufair.protocol.messages import Envelope, Query, QueryKind, Reason, ReasonCode
from gpufair.provider.ledger import answers
from gpufair.provider.ledger.store import Store


class Queries:
    """Answers signed questions about the book. Thread-safe."""

    def __init__(self, desk: Desk, store: Store, auditors: Collection[str] = ()) -> None:
        self._desk = desk
        self._store = store
        self._auditors = frozenset(auditors) | {desk.did}
        self._seen: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, document: Envelope) -> Envelope:
        """`Balance`, `HoldState`, or a `Decline` for who is not entitled. Raises PeerError for a bad document."""
        query = self._receive(document)
        if query.doc.kind is QueryKind.BALANCE:
            if not self._entitled(query.issuer, query.doc.account):
                return self._decline(query, ReasonCode.NOT_ENTITLED)
            return answers.balance(self._desk, query, self._store.account(query.doc.account))
        if query.doc.kind is QueryKind.HOLD:
            return self._hold(query)
        raise PeerError(Fault.WRONG_TYPE, "this question is answered by pages of the journal")

    def journal(self, document: Envelope) -> JournalPage | Envelope:
        """A page from event `since` on, or a `Decline`. Raises PeerError for a bad document.

        STATEMENT: the account's own events. JOURNAL: every event, in full for operator and auditors, and for an
        account its own in full and the digests of all others.
        """
        query = self._receive(document)
        asker, account = query.issuer, query.doc.account
        if query.doc.kind is QueryKind.STATEMENT:
            if not self._entitled(asker, account):
                return self._decline(query, ReasonCode.NOT_ENTITLED)
            items, newest = self._store.statement(query.doc.since, account)
        elif query.doc.kind is QueryKind.JOURNAL:
            if asker not in self._auditors and not self._store.is_party(asker):
                return self._decline(query, ReasonCode.ACCOUNT_UNKNOWN)
            items, newest = self._store.page(query.doc.since, None if asker in self._auditors else asker)
        else:
            raise PeerError(Fault.WRONG_TYPE, "this question is answered by one document")
        return JournalPage(items, answers.journal_head(self._desk, asker, newest, query.id).envelope)

    def _hold(self, query: Signed[Query]) -> Envelope:
        hold = self._store.hold(query.doc.lease)
        if hold is None:
            return self._decline(query, ReasonCode.HOLD_UNKNOWN)
        if query.issuer not in self._auditors | {hold.payer, hold.payee}:
            return self._decline(query, ReasonCode.NOT_ENTITLED)
        return answers.hold_state(self._desk, query, hold, self._store.keys(hold.lease, query.doc.since))

    def _entitled(self, asker: str, account: str) -> bool:
        return asker == account or asker in self._auditors

    def _decline(self, query: Signed[Query], code: ReasonCode) -> Envelope:
        return answers.declined(self._desk, query, Reason(code))

    def _receive(self, document: Envelope) -> Signed[Query]:
        query = self._desk.receive(document, Query)
        with self._lock:
            known = self._seen.setdefault((query.issuer, query.doc.head.id), query.id)
            if len(self._seen) > limits.QUERIES_SEEN:
                self._seen.popitem(last=False)
        if known != query.id:
            raise PeerError(Fault.REPLAYED_DIFFERENT, "this id was used for another question", hint="make a new id")
        return query
