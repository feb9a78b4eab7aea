"""The ledger. Rule: an order has one effect, however often it comes, and its answer is on disk before anyone hears it.

An order goes through two halves. `prepare` needs no transaction: size, type, audience, time, a known lease, then the
signatures, cheapest first. `post` decides a list of prepared orders in one transaction. What happens to repeats:

- The same bytes again get the recorded answer, verbatim, before any look at the clock; other bytes under a known id
  are refused.
- Orders that moved money are remembered for ever. A decline is remembered until its order is too old to be accepted
  anyway: so an order that was declined is dead, and can't take effect later, when nobody expects it any more.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from gpufair.protocol import book, envelope, identity, limits, wire
from gpufair.protocol.book import HoldRow, Instruction, Order, Posting, Unchanged
from gpufair.protocol.envelope import Signed, Verify
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.journal import JournalPage
from gpufair.protocol.messages import Capture, Envelope, HoldOrder, Issue, JournalHead, Reason, Redeem
from gpufair.provider.ledger import answers
from gpufair.provider.ledger.batch import Batch, Newest, Recorded
from gpufair.provider.ledger.queries import Queries
from gpufair.provider.ledger.store import LedgerStatus, Store


@dataclass(frozen=True, slots=True)
class Opened:
    """An order that passed every cheap check at `at_ms`; its signatures are still to be checked."""

    order: Signed[Order]
    at_ms: int
    late: PeerError | None

    def proven(self, verify: Verify = identity.verify) -> Prepared:
        """The order once its signatures hold; costs them. Raises PeerError."""
        order = envelope.authenticate(self.order, verify=verify)
        return Prepared(book.instruct(order, verify=verify), self.at_ms, self.late)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order whose signatures hold, as it arrived. `late` is why it may only get a recorded answer, if so."""

    instruction: Instruction
    at_ms: int
    late: PeerError | None = None

    @property
    def order(self) -> Signed[Order]:
        """The order itself."""
        return self.instruction.order


class Ledger:
    """A book, its operator's key, and a clock. Thread-safe; only the clock of this machine judges money.

    `grace_ms`: after a start no hold expires for this long, so that a payee whom our outage kept waiting gets its
    capture in. `auditors` may read everything, as the operator may.
    """

    def __init__(
        self, desk: Desk, store: Store, *, auditors: Collection[str] = (), grace_ms: int = limits.MARGIN_MIN_MS
    ) -> None:
        if store.operator != desk.did:
            raise LocalError(Fault.NOT_ALLOWED, "the book belongs to another identity than the one that signs for it")
        self._desk = desk
        self._store = store
        self._queries = Queries(desk, store, auditors)
        self._serving_from_ms = desk.now_ms() + grace_ms
        self._forgot_ms = desk.now_ms()
        self._posting = threading.Lock()
        self._open = store.open_leases()

    @property
    def did(self) -> str:
        """The ledger's identity: the audience of every order, and the operator who issues and redeems."""
        return self._desk.did

    # --- orders -------------------------------------------------------------------------------------------------------
    def submit(self, document: Envelope) -> Envelope:
        """Execute one order: `Hold`, `Captured`, `Posted` or `Decline`. Raises PeerError for what is no valid order."""
        [answer] = self.post([self.prepare(document)])
        if isinstance(answer, PeerError):
            raise answer
        return answer

    def submit_many(self, documents: Sequence[Envelope]) -> list[Envelope | PeerError]:
        """Execute orders in one transaction; an order that is no valid document gets its error in its place."""
        prepared: list[Prepared | PeerError] = []
        for document in documents:
            try:
                prepared.append(self.prepare(document))
            except PeerError as error:
                prepared.append(error)
        done = iter(self.post([one for one in prepared if isinstance(one, Prepared)]))
        return [one if isinstance(one, PeerError) else next(done) for one in prepared]

    def prepare(self, document: Envelope) -> Prepared:
        """Everything about an order that needs no transaction; costs the signatures. Raises PeerError."""
        return self.open(document).proven()

    def open(self, document: Envelope) -> Opened:
        """The cheap half of `prepare`: nothing is believed yet. Raises PeerError."""
        now = self._desk.now_ms()
        if len(document.payload) > limits.INSTRUCTION_MAX:
            raise PeerError(Fault.TOO_LARGE, f"an order has {len(document.payload)} bytes of {limits.INSTRUCTION_MAX}")
        order = book.read_order(document)
        head = order.doc.head
        book.check_addressed(order, self.did)
        late = _lateness(order, now)
        if late is not None and not self._store.knows_request(head.issuer, head.id):
            raise late
        if isinstance(order.doc, Capture):
            self._check_lease(order.doc.lease)
        return Opened(order, now, late)

    def post(self, prepared: Sequence[Prepared]) -> list[Envelope | PeerError]:
        """Decide prepared orders, in this order, in one transaction that is on disk when this returns."""
        if not prepared:
            return []
        with self._posting:
            with self._store.batch() as batch:
                _prefetch(batch, prepared, self.did)
                self._expire_due(batch, max(one.at_ms for one in prepared))
                result = [self._one(batch, one) for one in prepared]
                self._forget(batch, every_ms=limits.MINUTE)
            self._remember(batch)
        return result

    def expire(self) -> int:
        """Close the holds whose time is over, and forget dead declines; how many holds were closed."""
        with self._posting:
            now = self._desk.now_ms()
            with self._store.batch() as batch:
                count = self._expire_due(batch, now)
                self._forget(batch)
            self._remember(batch)
        return count

    # --- questions ----------------------------------------------------------------------------------------------------
    def ask(self, query: Envelope) -> Envelope:
        """Answer a signed `Query` for a balance or a hold: `Balance`, `HoldState`, or `Decline`."""
        return self._queries.ask(query)

    def journal(self, query: Envelope) -> JournalPage | Envelope:
        """Answer a signed `Query` for a page of the journal or of a statement; a `Decline` if not entitled."""
        return self._queries.journal(query)

    def head(self, newest: Newest | None = None) -> Signed[JournalHead]:
        """The ledger's signature over its newest event (or an older one), for the operator's own use."""
        return answers.journal_head(self._desk, self.did, newest or self._store.newest())

    def status(self) -> LedgerStatus:
        """Counts and totals."""
        return self._store.status()

    def _remember(self, batch: Batch) -> None:
        """Keep up with what was committed, for the cheap check of a capture's lease."""
        for hold in batch.changed_holds():
            (self._open.discard if hold.closed else self._open.add)(hold.lease)

    def _forget(self, batch: Batch, *, every_ms: int = 0) -> None:
        """Drop what was answered to dead orders that moved nothing; a ledger that is never idle does so as well."""
        now = self._desk.now_ms()
        if now >= self._forgot_ms + every_ms:
            batch.forget(now - limits.SKEW_MS)
            self._forgot_ms = now

    def _check_lease(self, lease: bytes) -> None:
        if lease not in self._open and self._store.hold(lease) is None:
            raise PeerError(Fault.UNKNOWN, "there is no hold for this lease", hint="place the hold first")

    def _expire_due(self, batch: Batch, at_ms: int) -> int:
        at_ms = max(at_ms, batch.newest.at_ms)
        return self._expire(batch, batch.due(at_ms), at_ms)

    def _expire(self, batch: Batch, holds: Iterable[HoldRow], at_ms: int) -> int:
        """Close those whose time is over, unless this ledger has not served for one margin yet."""
        if self._desk.now_ms() < self._serving_from_ms:
            return 0
        postings = [posting for hold in holds if isinstance(posting := book.expire(hold, at_ms), Posting)]
        for posting in postings:
            batch.post(posting, b"", at_ms)
        return len(postings)

    def _one(self, batch: Batch, one: Prepared) -> Envelope | PeerError:
        order, head = one.order, one.order.doc.head
        before = batch.recorded(order.issuer, head.id)
        if before is not None:
            if before.document_id == order.id:
                return wire.decode(Envelope, before.answer)
            return PeerError(Fault.REPLAYED_DIFFERENT, "this id was used for another order", hint="make a new id")
        if one.late is not None:
            return one.late
        at_ms = max(one.at_ms, batch.newest.at_ms)
        if at_ms > one.at_ms + limits.SKEW_MS:
            raise LocalError(Fault.UNAVAILABLE, "this ledger's clock went back", hint="set the clock; the book is safe")
        if isinstance(order.doc, Capture):
            hold = batch.hold(order.doc.lease)
            self._expire(batch, [] if hold is None else [hold], at_ms)
        outcome = book.decide(batch, self.did, one.instruction, at_ms)
        event = None
        if isinstance(outcome, Posting):
            event = batch.post(outcome, order.bytes, at_ms)
        answer = self._answer(batch, order, outcome, event or 0)
        recorded = Recorded(order.id, wire.encode(answer))
        batch.record(order.issuer, head.id, recorded, event, head.expires_at_ms + limits.SKEW_MS)
        return answer

    def _answer(
        self, batch: Batch, order: Signed[Order], outcome: Posting | Unchanged | Reason, event: int
    ) -> Envelope:
        if isinstance(outcome, Reason):
            return answers.declined(self._desk, order, outcome)
        if isinstance(outcome, Unchanged):
            return answers.captured(self._desk, order, outcome.hold, 0, 0)
        doc = order.doc
        if isinstance(doc, Capture) and outcome.hold is not None:
            return answers.captured(self._desk, order, outcome.hold, outcome.paid, event)
        if isinstance(doc, HoldOrder) and outcome.hold is not None:
            return answers.held(self._desk, order, outcome.hold, event)
        account = doc.account if isinstance(doc, Issue | Redeem) else order.issuer
        return answers.posted(self._desk, order, account, batch.funds(account), event)


def _lateness(order: Signed[Order], now_ms: int) -> PeerError | None:
    # A capture must find its way whenever we are up again: like its voucher it lives as long as the hold.
    lifetime = limits.HOLD_MAX_MS if isinstance(order.doc, Capture) else limits.COMMAND_TTL_MS
    try:
        envelope.check_time(order.doc.head, now_ms, lifetime_max_ms=lifetime)
    except PeerError as error:
        return error
    return None


def _prefetch(batch: Batch, prepared: Sequence[Prepared], ledger: str) -> None:
    docs = [one.order.doc for one in prepared]
    leases = {doc.lease for doc in docs if isinstance(doc, Capture | HoldOrder)}
    batch.prefetch({doc.head.id for doc in docs}, leases, {doc.head.issuer for doc in docs} | {ledger})
