"""Double-entry rules. Rule: an order becomes one posting whose legs sum to zero, or a reason; nothing in between.

Pure: the same code decides in the ledger before it writes and in every auditor afterwards. The ledger's own did holds
the counter-account ISSUED, which goes negative as credits are issued; AVAILABLE and HELD of anyone never do.
Numbers in brackets refer to docs/payment.md.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Protocol

from gpufair.protocol import envelope, identity, limits, payment
from gpufair.protocol.envelope import Claim, Signed, Verify
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import (
    Bucket,
    Capture,
    Envelope,
    EventKind,
    HoldOrder,
    Issue,
    Leg,
    Pay,
    Reason,
    ReasonCode,
    Redeem,
    Voucher,
)
from gpufair.protocol.payment import Promise

Order = HoldOrder | Capture | Pay | Issue | Redeem
ORDERS: dict[str, type[Order]] = {kind.TYPE: kind for kind in (HoldOrder, Capture, Pay, Issue, Redeem)}
"""The documents that can move money, by payload type."""

UNIT = "micro-credits"


@dataclass(frozen=True, slots=True)
class Funds:
    """One account, in micro-credits. `issued` is zero or below, and zero for everyone but the ledger itself."""

    issued: int = 0
    available: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class HoldRow:
    """Funds reserved for one lease. Closed once: then `captured` + `released` = `amount`."""

    lease: bytes
    payer: str
    payee: str
    amount: int
    expires_at_ms: int
    captured: int = 0
    released: int = 0
    closed: bool = False

    @property
    def rest(self) -> int:
        """What is still reserved."""
        return self.amount - self.captured - self.released

    def after(self, paid: int, back: int, *, closed: bool) -> HoldRow:
        """The hold once `paid` more was captured and `back` was released."""
        captured, released = self.captured + paid, self.released + back
        return HoldRow(self.lease, self.payer, self.payee, self.amount, self.expires_at_ms, captured, released, closed)


class View(Protocol):
    """What `decide` may look at: the book as it is now."""

    def funds(self, did: str) -> Funds:
        """The account of `did`; all zero for one never seen."""
        ...

    def hold(self, lease: bytes) -> HoldRow | None:
        """The hold of a lease, open or closed."""
        ...

    def reference_used(self, kind: EventKind, reference: str) -> bool:
        """Whether an issue (or a redemption) against this payment outside is in the book already."""
        ...


@dataclass(frozen=True, slots=True)
class Posting:
    """What an order does to the book: legs, the hold as it is afterwards, and the keys that the payer now learns."""

    kind: EventKind
    legs: tuple[Leg, ...]
    lease: bytes = b""
    hold: HoldRow | None = None
    paid: int = 0
    keys: tuple[bytes, ...] = ()
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A capture that is in order and pays nothing more: no event."""

    hold: HoldRow


@dataclass(frozen=True, slots=True)
class Instruction:
    """An order whose signature is checked, and the voucher that it carries, checked too, or why to doubt that one."""

    order: Signed[Order]
    voucher: Signed[Voucher] | None = None
    doubt: str = ""


def instruct(order: Signed[Order], *, verify: Verify = identity.verify) -> Instruction:
    """Open the voucher inside a capture and check its signature: the costly half of [15], which needs no book."""
    if not isinstance(order.doc, Capture) or not order.doc.voucher:
        return Instruction(order)
    try:
        voucher = envelope.authenticate(envelope.from_bytes(order.doc.voucher, Voucher), verify=verify)
        payment.check_promise(Promise.of(voucher.doc))
    except PeerError as error:
        return Instruction(order, doubt=error.what)
    return Instruction(order, voucher)


def claims(order: Signed[Order]) -> list[Claim]:
    """Every signature that counts for an order: its own, and those of the voucher inside a capture."""
    found = envelope.claims(order)
    if isinstance(order.doc, Capture) and order.doc.voucher:
        with contextlib.suppress(PeerError):  # `instruct` will say what is wrong with the voucher
            found += envelope.claims(envelope.from_bytes(order.doc.voucher, Voucher))
    return found


def read_order(document: Envelope) -> Signed[Order]:
    """Parse any order without believing it. Raises PeerError for another type of document."""
    kind = ORDERS.get(document.payload_type, HoldOrder)
    return envelope.read(document, kind)


def check_addressed(order: Signed[Order], ledger: str) -> None:
    """Refuse an order that is not for this ledger alone: one for everybody could be executed by everybody."""
    if order.doc.head.audience != (ledger,):
        raise PeerError(Fault.WRONG_AUDIENCE, "an order is addressed to one ledger and to nobody else")


def decide(view: View, ledger: str, instruction: Instruction, at_ms: int) -> Posting | Unchanged | Reason:
    """What an authenticated instruction does to the book at `at_ms` by the ledger's clock. A refusal is a Reason."""
    doc = instruction.order.doc
    if isinstance(doc, Capture):
        return _capture(view, ledger, instruction, doc)
    if isinstance(doc, HoldOrder):
        return _hold(view, doc, at_ms)
    if isinstance(doc, Pay):
        return _pay(view, doc)
    return _outside(view, ledger, doc)


def expire(hold: HoldRow, at_ms: int) -> Posting | Reason:
    """Close a hold whose time is over: the rest goes back to the payer [11, 12]."""
    if hold.closed:
        return Reason(ReasonCode.HOLD_CLOSED)
    if at_ms < hold.expires_at_ms:
        return Reason(ReasonCode.EXPIRED, at_ms, hold.expires_at_ms, "Unix ms", "the hold still runs")
    legs = _legs((hold.payer, Bucket.HELD, -hold.rest), (hold.payer, Bucket.AVAILABLE, hold.rest))
    return Posting(EventKind.EXPIRED, legs, hold.lease, hold.after(0, hold.rest, closed=True))


def after(view: View, legs: tuple[Leg, ...]) -> dict[str, Funds]:
    """Every touched account as it is after `legs`. Raises ValueError for legs that break the book."""
    if sum(leg.amount for leg in legs) != 0:
        raise ValueError("the legs do not sum to zero")
    changed: dict[str, Funds] = {}
    for leg in legs:
        old = changed.get(leg.account) or view.funds(leg.account)
        changed[leg.account] = _moved(old, leg)
    for funds in changed.values():
        if funds.available < 0 or funds.held < 0 or funds.issued > 0:
            raise ValueError("an account would fall below zero")
    return changed


def _moved(funds: Funds, leg: Leg) -> Funds:
    if leg.bucket is Bucket.AVAILABLE:
        return Funds(funds.issued, funds.available + leg.amount, funds.held)
    if leg.bucket is Bucket.HELD:
        return Funds(funds.issued, funds.available, funds.held + leg.amount)
    return Funds(funds.issued + leg.amount, funds.available, funds.held)


def _legs(*moves: tuple[str, Bucket, int]) -> tuple[Leg, ...]:
    return tuple(Leg(account, bucket, amount) for account, bucket, amount in moves if amount)


def _short(view: View, did: str, amount: int) -> Reason | None:
    available = view.funds(did).available
    return Reason(ReasonCode.FUNDS_SHORT, amount, available, UNIT) if amount > available else None


def _hold(view: View, order: HoldOrder, at_ms: int) -> Posting | Reason:
    payer = order.head.issuer
    if order.payee == payer:
        return Reason(ReasonCode.NOT_ENTITLED, detail="payer and payee are the same")
    if view.hold(order.lease) is not None:
        return Reason(ReasonCode.HOLD_EXISTS)
    if order.hold_expires_at_ms <= at_ms:
        return Reason(ReasonCode.EXPIRED, order.hold_expires_at_ms, at_ms, "Unix ms", "the hold would be over already")
    if order.hold_expires_at_ms > at_ms + limits.HOLD_MAX_MS:
        return Reason(ReasonCode.EXPIRY_TOO_LATE, order.hold_expires_at_ms, at_ms + limits.HOLD_MAX_MS, "Unix ms")
    legs = _legs((payer, Bucket.AVAILABLE, -order.amount), (payer, Bucket.HELD, order.amount))
    hold = HoldRow(order.lease, payer, order.payee, order.amount, order.hold_expires_at_ms)
    return _short(view, payer, order.amount) or Posting(EventKind.HELD, legs, order.lease, hold)


def _pay(view: View, order: Pay) -> Posting | Reason:
    payer = order.head.issuer
    if order.payee == payer:
        return Reason(ReasonCode.NOT_ENTITLED, detail="payer and payee are the same")
    legs = _legs((payer, Bucket.AVAILABLE, -order.amount), (order.payee, Bucket.AVAILABLE, order.amount))
    return _short(view, payer, order.amount) or Posting(EventKind.PAID, legs, paid=order.amount)


def _outside(view: View, ledger: str, order: Issue | Redeem) -> Posting | Reason:
    if order.head.issuer != ledger:
        return Reason(ReasonCode.NOT_ENTITLED, detail="only the ledger's operator issues and redeems")
    issuing = isinstance(order, Issue)
    kind, sign = (EventKind.ISSUED, 1) if issuing else (EventKind.REDEEMED, -1)
    if view.reference_used(kind, order.reference):
        return Reason(ReasonCode.REFERENCE_USED)
    amount = sign * order.amount
    outstanding = amount - view.funds(ledger).issued
    if outstanding > limits.AMOUNT_MAX:
        # With all credits together within the limit no account can ever outgrow it.
        return Reason(ReasonCode.LIMIT, outstanding, limits.AMOUNT_MAX, UNIT, "credits in circulation")
    legs = _legs((ledger, Bucket.ISSUED, -amount), (order.account, Bucket.AVAILABLE, amount))
    short = None if issuing else _short(view, order.account, order.amount)
    return short or Posting(kind, legs, reference=order.reference)


def _capture(view: View, ledger: str, instruction: Instruction, order: Capture) -> Posting | Unchanged | Reason:
    hold = view.hold(order.lease)
    if hold is None:
        return Reason(ReasonCode.HOLD_UNKNOWN)
    if order.head.issuer != hold.payee:
        return Reason(ReasonCode.NOT_ENTITLED, detail="only the payee captures")
    if hold.closed:
        return Reason(ReasonCode.HOLD_CLOSED, hold.captured, hold.amount, UNIT, "captured before it closed")
    wrong = _voucher_fault(ledger, hold, instruction, order)
    if wrong:
        return Reason(ReasonCode.VOUCHER_WRONG, detail=wrong)
    paid = 0
    if instruction.voucher is not None:
        promise = Promise.of(instruction.voucher.doc)
        paid = payment.payable(promise, order.keys, hold=hold.amount, captured=hold.captured)
    if not paid and not order.final:
        return Unchanged(hold)
    back = hold.rest - paid if order.final else 0
    legs = _legs(
        (hold.payer, Bucket.HELD, -paid - back),
        (hold.payee, Bucket.AVAILABLE, paid),
        (hold.payer, Bucket.AVAILABLE, back),
    )
    changed = hold.after(paid, back, closed=order.final)
    return Posting(EventKind.CAPTURED, legs, order.lease, changed, paid, order.keys)


def _voucher_fault(ledger: str, hold: HoldRow, instruction: Instruction, order: Capture) -> str:
    """What [15] has against the voucher; empty if nothing."""
    if not order.voucher:
        return "" if order.final and not order.keys else "without a voucher a capture is final and has no keys"
    if instruction.voucher is None:
        return instruction.doubt
    return _mismatch(ledger, hold, instruction.voucher.doc, order)


def _mismatch(ledger: str, hold: HoldRow, voucher: Voucher, order: Capture) -> str:
    if voucher.head.issuer != hold.payer:
        return "the voucher is not the payer's"
    if voucher.lease != order.lease:
        return "the voucher is for another lease"
    if set(voucher.head.audience) != {ledger, hold.payee}:
        return "the voucher is not for this ledger and payee"
    opened = {payment.hashlock(key) for key in order.keys}
    if len(opened) != len(order.keys) or not opened <= {lock.hashlock for lock in voucher.locks}:
        return "each key must open a lock of its own"
    return ""
