"""The chained journal and its audit. Rule: whoever has the events needs nobody's word: every one is executed again.

Each event's bytes are digested, and the digests are chained: hash = SHA-256(tag ‖ previous hash ‖ SHA-256(event)).
So an event that a reader may not see can be given to them as its 32-byte digest, and the chain still proves that
nothing was slipped in, left out or changed. Bad data never raises here: it becomes a finding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from gpufair.protocol import book, envelope, limits, wire
from gpufair.protocol import fields as f
from gpufair.protocol.book import Funds, HoldRow
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import Balance, Bucket, Envelope, Event, EventKind, JournalHead, Leg, Reason

TAG = b"gpufair-journal-v1\0"
START = bytes(32)
"""The hash before the first event."""
DIGEST_BYTES = 32

_STRANGER = Funds(available=limits.AMOUNT_MAX, held=limits.AMOUNT_MAX)
"""What a reader who can't see an account must take it to hold: enough."""


@dataclass(frozen=True, slots=True)
class JournalPage:
    """A piece of the journal, oldest first, and the signed head that it leads up to.

    An item is an event's bytes, or its 32-byte digest where the reader is not entitled to more.
    """

    events: Annotated[tuple[Annotated[bytes, f.Size(DIGEST_BYTES, 2 * limits.PAYLOAD_MAX)], ...],
                      f.Size(0, limits.JOURNAL_PAGE)]  # fmt: skip
    head: Envelope


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that an honest ledger's journal never holds; `sequence` 0 is about the journal as a whole."""

    sequence: int
    what: str


@dataclass(frozen=True, slots=True)
class Audit:
    """The outcome: no findings means that the journal is what an honest ledger would have written."""

    findings: tuple[Finding, ...]
    sequence: int
    hash: bytes
    visible: int
    heads: int

    @property
    def ok(self) -> bool:
        """Whether nothing was found, and a signed head vouches for the newest event."""
        return not self.findings


def digest(event: bytes) -> bytes:
    """What the chain is made of, and all that a stranger gets to see of an event."""
    return hashlib.sha256(event).digest()


def link(previous: bytes, event_digest: bytes) -> bytes:
    """The chain's hash after one more event."""
    return hashlib.sha256(TAG + previous + event_digest).digest()


class Auditor:
    """Re-executes a journal, page by page, and collects findings.

    With `account` it audits what that account is entitled to: digests are fine elsewhere, and strangers' funds are
    taken on trust. Without, everything must be there and everything is checked. `expected` are the events that the
    ledger's signed answers named to the account: hiding one of those is a finding.
    """

    def __init__(self, ledger: str, account: str | None = None, expected: Iterable[int] = ()) -> None:
        self._ledger = ledger
        self._account = account
        self._expected = frozenset(expected)
        self._accounts: dict[str, Funds] = {}
        self._holds: dict[bytes, HoldRow] = {}
        self._references: set[tuple[EventKind, str]] = set()
        self._orders: set[bytes] = set()
        self._findings: list[Finding] = []
        self._heads: dict[int, tuple[bytes, Envelope]] = {}
        self._balances: list[Balance] = []
        self._heads_met = 0
        self._newest_head = 0
        self._visible = 0
        self._at_ms = 0
        self.sequence = 0
        self.hash = START
        self.two_heads: tuple[Envelope, Envelope] | None = None
        """Two heads of one sequence that the ledger signed over different journals: they convict it."""

    # --- the view that `book.decide` looks at ---------------------------------------------------------------------
    def funds(self, did: str) -> Funds:
        """The fold of every leg seen so far."""
        if self._account is not None and did != self._account:
            return _STRANGER
        return self._accounts.get(did, Funds())

    def hold(self, lease: bytes) -> HoldRow | None:
        """A hold as the events seen so far leave it."""
        return self._holds.get(lease)

    def reference_used(self, kind: EventKind, reference: str) -> bool:
        """Whether a visible event used it."""
        return (kind, reference) in self._references

    @property
    def accounts(self) -> Mapping[str, Funds]:
        """Every account touched by a visible event; with `account` set only that one is whole."""
        return self._accounts

    @property
    def holds(self) -> Mapping[bytes, HoldRow]:
        """Every visible hold, by lease."""
        return self._holds

    @property
    def newest_head(self) -> Envelope | None:
        """The signed head of the highest sequence so far."""
        return self._heads[self._newest_head][1] if self._newest_head in self._heads else None

    # --- feeding ----------------------------------------------------------------------------------------------------
    def feed(self, items: Iterable[bytes], head: Envelope | None = None) -> None:
        """Check the next items, which follow the last ones fed, and the head that came with them."""
        if head is not None:
            self._read_head(head)
        for item in items:
            self._feed_one(item)

    def report(self) -> Audit:
        """Everything found so far; a head beyond the last event fed is a finding, and so is having had none."""
        findings = list(self._findings)
        if self._newest_head > self.sequence:
            findings.append(Finding(0, f"the signed head is event {self._newest_head}: the journal ends earlier"))
        if self._newest_head < self.sequence:
            findings.append(Finding(0, "no signed head vouches for the newest event"))
        ahead = "the ledger signed a balance as of event {}: the journal ends earlier"
        findings += [Finding(0, ahead.format(said.event)) for said in self._balances]
        return Audit(tuple(findings), self.sequence, self.hash, self._visible, self._heads_met)

    def check_balance(self, balance: Signed[Balance]) -> None:
        """Compare the ledger's signed answer with the fold as of the event that it names.

        Ask for the balance first and feed the journal then: a ledger that is busy is always ahead of what was fed, and
        the comparison takes place when the journal gets there. Never getting there is a finding.
        """
        if balance.doc.event < self.sequence:
            self._find(0, f"the balance is of event {balance.doc.event}, which was fed before it")
        else:
            self._balances.append(balance.doc)
            self._compare_balances()

    def _compare_balances(self) -> None:
        for said in [said for said in self._balances if said.event == self.sequence]:
            self._balances.remove(said)
            funds = self.funds(said.account)
            if (said.available, said.held) != (funds.available, funds.held):
                signed, folded = f"{said.available} + {said.held}", f"{funds.available} + {funds.held}"
                self._find(self.sequence, f"the ledger signed {signed} held, its events add up to {folded} held")

    def _find(self, sequence: int, what: str) -> None:
        self._findings.append(Finding(sequence, what))

    def _read_head(self, document: Envelope) -> None:
        try:
            head = envelope.authenticate(envelope.read(document, JournalHead)).doc
        except PeerError as error:
            self._find(0, f"the head is not signed: {error.what}")
            return
        if head.head.issuer != self._ledger:
            self._find(0, "the head is signed by somebody else")
            return
        known, first = self._heads.setdefault(head.sequence, (head.hash, document))
        if known != head.hash:
            self.two_heads = self.two_heads or (first, document)
            self._find(head.sequence, "two signed heads for one event: the ledger shows different journals")
        self._newest_head = max(self._newest_head, head.sequence)
        if head.sequence == self.sequence:
            self._meet_head()

    def _meet_head(self) -> None:
        if self.sequence not in self._heads:
            return
        self._heads_met += 1
        if self._heads[self.sequence][0] != self.hash:
            self._find(self.sequence, "the signed head has another hash: an event was changed, added or left out")

    def _feed_one(self, item: bytes) -> None:
        previous, self.sequence = self.hash, self.sequence + 1
        if len(item) == DIGEST_BYTES:
            self.hash = link(previous, item)
            if self._account is None or self.sequence in self._expected:
                self._find(self.sequence, "the event is hidden")
        else:
            self.hash = link(previous, digest(item))
            self._visible += 1
            self._check(item, previous)
        self._meet_head()
        self._compare_balances()

    def _check(self, item: bytes, previous: bytes) -> None:
        try:
            event = wire.decode(Event, item)
        except PeerError as error:
            self._find(self.sequence, f"not an event: {error.what}")
            return
        if event.sequence != self.sequence or event.previous != previous:
            self._find(self.sequence, "the event names another predecessor")
        if event.at_ms < self._at_ms:
            self._find(self.sequence, "the event is older than the one before it")
        self._at_ms = max(self._at_ms, event.at_ms)
        try:
            posting = self._execute(event)
        except PeerError as error:
            posting = error.what
        if isinstance(posting, str):
            self._find(self.sequence, posting)
        else:
            self._compare(event, posting)
            self._note(posting)
        self._apply(event.legs)

    def _execute(self, event: Event) -> book.Posting | str:
        """What the book says about the event's instruction, or what is wrong with that."""
        if event.kind is EventKind.EXPIRED:
            hold = self._holds.get(event.lease)
            if hold is None or event.instruction:
                return "an expiry of no hold, or with an instruction"
            outcome: book.Posting | book.Unchanged | Reason = book.expire(hold, event.at_ms)
        else:
            order = envelope.authenticate(book.read_order(wire.decode(Envelope, event.instruction)))
            book.check_addressed(order, self._ledger)
            head = order.doc.head
            seen = hashlib.sha256(head.issuer.encode() + head.id).digest()[:16]
            if seen in self._orders:
                return "the instruction was executed before"
            self._orders.add(seen)
            if not head.issued_at_ms - 2 * limits.SKEW_MS <= event.at_ms <= head.expires_at_ms + 2 * limits.SKEW_MS:
                return "the instruction was not valid at that time"
            outcome = book.decide(self, self._ledger, book.instruct(order), event.at_ms)
        if isinstance(outcome, Reason):
            return f"the book refuses this: {outcome}"
        return "the instruction moves nothing" if isinstance(outcome, book.Unchanged) else outcome

    def _compare(self, event: Event, posting: book.Posting) -> None:
        if (event.kind, event.lease, event.legs) != (posting.kind, posting.lease, posting.legs):
            self._find(self.sequence, "the instruction says something else than the legs")

    def _note(self, posting: book.Posting) -> None:
        if posting.hold is not None:
            self._holds[posting.lease] = posting.hold
        if posting.reference:
            self._references.add((posting.kind, posting.reference))

    def _apply(self, legs: tuple[Leg, ...]) -> None:
        """Fold what the ledger says it posted, right or wrong: balances are judged as they would be paid out."""
        if sum(leg.amount for leg in legs) != 0:
            self._find(self.sequence, "the legs do not sum to zero")
        for leg in legs:
            old = self._accounts.get(leg.account, Funds())
            issued = old.issued + leg.amount * (leg.bucket is Bucket.ISSUED)
            available = old.available + leg.amount * (leg.bucket is Bucket.AVAILABLE)
            held = old.held + leg.amount * (leg.bucket is Bucket.HELD)
            self._accounts[leg.account] = Funds(issued, available, held)
        for account in {leg.account for leg in legs}:
            funds = self._accounts[account]
            known = self._account is None or account == self._account
            if known and (funds.available < 0 or funds.held < 0 or (funds.issued and account != self._ledger)):
                self._find(self.sequence, "an account falls below zero")


def verify(items: Iterable[bytes], head: Envelope, ledger: str, account: str | None = None) -> Audit:
    """Audit a whole journal at once: every event from the first on, and the head that closes it."""
    auditor = Auditor(ledger, account)
    auditor.feed(items, head)
    return auditor.report()
