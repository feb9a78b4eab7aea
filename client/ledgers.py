"""Asking ledgers. Rule: an answer counts when the ledger's own key signed it, for us, to this very question.

A ledger is reached at the address in the offer, under the did in the offer, or at the address in its node record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from gpufair.client.failures import DeclinedError
from gpufair.protocol import identity, limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import FairError, Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.journal import Audit, Auditor
from gpufair.protocol.messages import (
    Balance,
    Decline,
    Document,
    Envelope,
    HoldState,
    JournalHead,
    LedgerRef,
    NodeRecord,
    Query,
    QueryKind,
)

D = TypeVar("D", bound=Document)
_KEY_PAGES_MAX = 64
_JOURNAL_PAGES_MAX = 100_000


class Ledgers:
    """Every ledger that this buyer talks to."""

    def __init__(self, desk: Desk, peers: Peers) -> None:
        self._desk = desk
        self._peers = peers

    async def meet(self, ref: LedgerRef, records: Iterable[Signed[NodeRecord]] = ()) -> Peer:
        """Connect to a ledger: where the offer says, else where its own node record says. Raises PeerUnreachable."""
        try:
            return await self._peers.meet(PeerAddress(Endpoint.parse(ref.endpoint), ref.did))
        except FairError:
            for record in records:
                if record.issuer == ref.did:
                    return await self._peers.at(record)
            raise

    async def balance(self, peer: Peer) -> Signed[Balance]:
        """Our funds there: available, held, and what others hold for us."""
        query = self._query(peer, QueryKind.BALANCE)
        answer = self._answer(await peer.ledger.ask(query.envelope), Balance, query)
        if answer.doc.account != self._desk.did:
            raise PeerError(Fault.CONFLICT, "the ledger answers with somebody else's balance")
        return answer

    async def hold_state(self, peer: Peer, lease: bytes) -> tuple[Signed[HoldState], tuple[bytes, ...]] | None:
        """A hold as it is now, with every key that its captures have shown; None if the ledger knows no such hold."""
        keys: tuple[bytes, ...] = ()
        for _ in range(_KEY_PAGES_MAX):
            query = self._query(peer, QueryKind.HOLD, lease=lease, since=len(keys))
            try:
                state = self._answer(await peer.ledger.ask(query.envelope), HoldState, query)
            except DeclinedError:
                return None
            keys += state.doc.keys
            if len(state.doc.keys) < limits.KEYS_PAGE:
                break
        return state, keys

    async def audit(
        self, peer: Peer, expected: Sequence[int] = (), known: Envelope | None = None
    ) -> tuple[Audit, Auditor]:
        """Execute again every event that we may see, over the chain of all, and compare the ledger's signed balance.

        `expected` are events that the ledger's answers have named to us: hiding one of those is a finding. `known` is
        a head that it signed before: a journal that does not lead through it is one.
        """
        auditor = Auditor(peer.did, self._desk.did, expected)
        auditor.feed((), known)
        auditor.check_balance(await self.balance(peer))  # compared when the journal gets to the event that it names
        for _ in range(_JOURNAL_PAGES_MAX):
            query = self._query(peer, QueryKind.JOURNAL, since=auditor.sequence + 1)
            events, head = await peer.ledger.journal(query.envelope)
            if head.payload_type == Decline.TYPE and not expected:  # we have no account there; else it is a finding
                self._answer(head, JournalHead, query)
            auditor.feed(events, head)
            if not events:
                break
        return auditor.report(), auditor

    def _query(self, peer: Peer, kind: QueryKind, *, lease: bytes = b"", since: int = 0) -> Signed[Query]:
        return self._desk.sign(Query(self._desk.head(peer.did), kind, self._desk.did, lease, since))

    def _answer(self, document: Envelope, kind: type[D], query: Signed[Query]) -> Signed[D]:
        """Check an answer. Raises DeclinedError with the ledger's reasons, PeerError for what is no answer to this."""
        ledger = query.doc.head.audience[0]
        if document.payload_type == Decline.TYPE:
            decline = self._desk.receive_recorded(document, Decline)
            _check_parent(decline.issuer, decline.doc.head.parent, ledger, query.id)
            reasons = decline.doc.reasons
            raise DeclinedError(f"the ledger refuses: {'; '.join(map(str, reasons))}", reasons=reasons)
        signed = self._desk.receive(document, kind)
        _check_parent(signed.issuer, signed.doc.head.parent, ledger, query.id)
        return signed


def _check_parent(issuer: str, parent: bytes, ledger: str, query: bytes) -> None:
    if issuer != ledger or parent != query:
        raise PeerError(Fault.BAD_SIGNATURE, f"this is not the answer of {identity.short(ledger)} to what was asked")


def seller_runs_it(ref: LedgerRef, ledger: Signed[NodeRecord] | None, provider: Signed[NodeRecord]) -> bool:
    """Whether a ledger is the provider's own: the same did, or another did on the same node."""
    if ref.did == provider.issuer:
        return True
    return ledger is not None and ledger.doc.tls_certificate == provider.doc.tls_certificate
