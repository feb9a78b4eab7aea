"""Those who don't keep to the rules. Rule: a cheat is the honest actor with one lie in it, and it counts its lies.

Each signs with its own key only, as a cheat in the real world would; `lies` says how often it has lied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from actor import signer
from actors import ProviderActor
from buyer import ClientActor
from keeping import LedgerActor
from network import Call, Stream

from gpufair.client.session.turn import Turn
from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits, payment, sealing
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.messages import (
    Answer,
    Body,
    Capture,
    Chunk,
    Decline,
    Delivery,
    Envelope,
    HoldState,
    JobAcceptance,
    JobHeader,
    KeyReveal,
    Lock,
    Order,
    Receipt,
    Voucher,
)
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.attempts import Attempts, Made
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow

# --- clients ----------------------------------------------------------------------------------------------------------


class CheatingClient(ClientActor):
    """A client whose messages are changed on their way out."""

    honest = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lies = 0

    def say(self, turn: Turn) -> None:
        ups: list[Any] = []
        for up in turn.ups:
            voucher = isinstance(up, Order) and up.envelope.payload_type == Voucher.TYPE
            ups += self.voucher(dsse.read(up.envelope, Voucher), up) if voucher else self.other(up)
        super().say(Turn(ups, turn.events))

    def voucher(self, voucher: Signed[Voucher], up: Order) -> list[Any]:
        """What goes out instead of a voucher."""
        return [up]

    def other(self, up: Any) -> list[Any]:
        """What goes out instead of anything else."""
        return [up]

    def signed(self, voucher: Voucher, **changes: Any) -> Order:
        """Another voucher, signed by us."""
        self.lies += 1
        head = replace(changes.pop("head", voucher.head), id=self.bytes(16))
        return Order(self.desk.sign(replace(voucher, head=head, **changes)).envelope)


class VanishingClient(CheatingClient):
    """Takes its first delivery, and is never seen again."""

    def voucher(self, voucher: Signed[Voucher], up: Order) -> list[Any]:
        if not voucher.doc.locks:
            return [up]
        self.lies += 1
        self.up = False
        assert self.stream is not None
        self.stream.cut()
        return []


class PartialLocks(CheatingClient):
    """Locks one micro-credit where the whole price is due."""

    def voucher(self, voucher: Signed[Voucher], up: Order) -> list[Any]:
        if not voucher.doc.locks:
            return [up]
        return [self.signed(voucher.doc, locks=tuple(Lock(1, x.hashlock) for x in voucher.doc.locks))]


class FakeLocks(CheatingClient):
    """Pays up-front lines and pictures with locks whose keys nobody has."""

    def voucher(self, voucher: Signed[Voucher], up: Order) -> list[Any]:
        fakes = tuple(Lock(500, hashlib.sha256(bytes([n])).digest()) for n in range(3))
        return [self.signed(voucher.doc, unlocked=0, locks=(*voucher.doc.locks, *fakes)[: limits.LOCKS_MAX])]


class Lowering(CheatingClient):
    """Says every older voucher again after a newer one, and lower ones too."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.old: list[Order] = []

    def voucher(self, voucher: Signed[Voucher], up: Order) -> list[Any]:
        lower = self.signed(voucher.doc, unlocked=max(0, voucher.doc.unlocked - 1), locks=())
        self.old.append(up)
        return [up, lower, *self.old[:-1][-4:]]


class OverCap(CheatingClient):
    """Promises more than was held."""

    def voucher(self, voucher: Signed[Voucher], up: Order) -> list[Any]:
        return [self.signed(voucher.doc, unlocked=self.world.story.cap * 3)]


class Foreign(CheatingClient):
    """Vouchers of another lease, ledger, payee, signer or time."""

    def voucher(self, voucher: Signed[Voucher], up: Order) -> list[Any]:
        doc, head = voucher.doc, voucher.doc.head
        other, far = signer("stranger"), limits.TIME_MAX_MS
        match self.sim.rng.randrange(6):
            case 0:
                return [self.signed(doc, lease=bytes(32))]
            case 1:
                return [self.signed(doc, head=replace(head, audience=(other.did, head.audience[1])))]
            case 2:
                return [self.signed(doc, head=replace(head, audience=(head.audience[0], other.did)))]
            case 3:
                self.lies += 1
                return [Order(dsse.sign(replace(doc, head=replace(head, issuer=other.did)), other).envelope)]
            case 4:
                return [self.signed(doc, head=replace(head, expires_at_ms=self.now_ms() + 1000))]
        return [self.signed(doc, head=replace(head, issued_at_ms=self.now_ms() + 10**8, expires_at_ms=far))]


class OtherBytes(CheatingClient):
    """Other work, or another body, under a job id that is taken."""

    def other(self, up: Any) -> list[Any]:
        if isinstance(up, Body) and self.sim.rng.random() < 0.5:
            self.lies += 1
            return [replace(up, sealed=up.sealed[:-1] + bytes([up.sealed[-1] ^ 1])), up]
        if isinstance(up, Order) and up.envelope.payload_type == JobHeader.TYPE and self.sim.rng.random() < 0.5:
            self.lies += 1
            header = dsse.read(up.envelope, JobHeader).doc
            more = replace(header.spec, steps=header.spec.steps + 1)
            same_id = self.sim.rng.random() < 0.5
            head = header.head if same_id else replace(header.head, id=self.bytes(16))
            return [up, Order(self.desk.sign(replace(header, head=head, spec=more)).envelope)]
        return [up]


# --- providers --------------------------------------------------------------------------------------------------------


class CheatingProvider(ProviderActor):
    """A provider whose messages are changed on their way out."""

    honest = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lies = 0

    def receipt(self, message: Delivery, **changes: Any) -> Delivery:
        """Another receipt, signed by us."""
        self.lies += 1
        receipt = dsse.read(message.receipt, Receipt).doc
        return replace(message, receipt=self.desk.sign(replace(receipt, **changes)).envelope)


class Withholder(CheatingProvider):
    """Never reveals a key: it is paid only by showing the keys to the ledger."""

    def speak(self, stream: Stream, message: Any) -> None:
        if isinstance(message, KeyReveal):
            self.lies += 1
            return
        super().speak(stream, message)


class NoiseAttempts(Attempts):
    """Encrypts noise under a receipt for the picture."""

    told: Callable[[], None]

    def _delivery(self, account: Account, attempt: AttemptRow, picture: int, made: Made) -> DeliveryRow:
        row = super()._delivery(account, attempt, picture, made)
        self.told()
        noise = sealing.encrypt_output(bytes(len(made.png)), row.key)
        receipt = from_bytes(row.receipt, Receipt).doc
        receipt = replace(receipt, cipher_sha256=hashlib.sha256(noise).digest(), cipher_length=len(noise))
        return replace(row, cipher=noise, receipt=self._desk.sign(receipt).bytes)


class NoiseMaker(CheatingProvider):
    """Its keys open noise."""

    def boot(self) -> None:
        super().boot()
        self.attempts = NoiseAttempts(self.desk, self.store, lambda _header, _waiting: ())
        self.attempts.told = self._told

    def _told(self) -> None:
        self.lies += 1


class Dearer(CheatingProvider):
    """Asks another price than the quote when it accepts."""

    def speak(self, stream: Stream, message: Any) -> None:
        if isinstance(message, Answer) and message.envelope.payload_type == JobAcceptance.TYPE:
            self.lies += 1
            doc = dsse.read(message.envelope, JobAcceptance).doc
            more = self.sim.rng.randrange(1, 9)
            upfront = doc.upfront + self.sim.rng.choice((0, more))
            dearer = replace(doc, upfront=upfront, total=doc.total + more)
            message = Answer(message.job, self.desk.sign(dearer).envelope)
        super().speak(stream, message)


class WrongGoods(CheatingProvider):
    """Receipts that claim something else than what was ordered and sent; now and then a true one."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.honoured: set[bytes] = set()

    def speak(self, stream: Stream, message: Any) -> None:
        if isinstance(message, Delivery):
            doc = dsse.read(message.receipt, Receipt).doc
            changes: list[dict[str, Any]] = [
                {"attempt": bytes(16)}, {"lease": bytes(32)}, {"increment": doc.increment + 1}, {"last_step": 49},
                {"cipher_sha256": bytes(32)}, {"cipher_length": doc.cipher_length - 1}, {"trace_root": bytes(32)},
                {"leaf_count": doc.leaf_count + 1}, {"spec": replace(doc.spec, steps=doc.spec.steps + 1)},
                {"picture": (doc.picture + 1) % limits.COUNT_MAX}, {"first_step": 1},
            ]  # fmt: skip
            used = self.honoured - {doc.hashlock}
            if used:
                changes = [{"hashlock": min(used)}] * 2 + changes
            if doc.hashlock in self.honoured or self.sim.rng.random() < 0.3:
                self.honoured.add(doc.hashlock)
            else:
                message = self.receipt(message, **self.sim.rng.choice(changes))
        super().speak(stream, message)


class TwoLocks(CheatingProvider):
    """Delivers every picture a second time, under another hashlock, hoping for a second payment."""

    def speak(self, stream: Stream, message: Any) -> None:
        super().speak(stream, message)
        if isinstance(message, Chunk):
            place = (message.job, message.picture)
            query = "SELECT receipt, cipher FROM deliveries WHERE job=? AND picture=?"
            [(receipt, cipher)] = self.db.rows(query, *place)
            first = Delivery(*place, from_bytes(receipt, Receipt).envelope)
            super().speak(stream, self.receipt(first, hashlock=payment.hashlock(self.bytes(32))))
            super().speak(stream, Chunk(*place, 0, cipher))


class Grabber(CheatingProvider):
    """Captures whatever it can: twice, in a race, with old vouchers, without keys, and after expiry."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.vouchers: list[bytes] = []
        self.final_late = self.sim.rng.random() < 0.5

    def order(self, lease: bytes, document: Envelope) -> list[Any]:
        effects = super().order(lease, document)
        if document.payload_type == Voucher.TYPE:
            self.vouchers.append(dsse.read(document, Voucher).bytes)
            for _ in range(2):
                self.later(self.sim.rng.randrange(0, 50), lambda: self.grab(lease))
            if self.final_late:
                self.later(self.world.story.lasts_ms + 2 * limits.MARGIN_MIN_MS, lambda: self.grab(lease))
        return effects

    def grab(self, lease: bytes) -> None:
        """One capture of any voucher that ever came, with every key that we have for it."""
        self.lies += 1
        voucher = self.sim.rng.choice(self.vouchers)
        locks = [x.hashlock for x in from_bytes(voucher, Voucher).doc.locks]
        own = dict(self.db.rows("SELECT hashlock, key FROM deliveries"))
        keys = [own[lock] for lock in locks if lock in own]
        match self.sim.rng.randrange(5):
            case 0:
                keys = [*keys, *keys][: limits.LOCKS_MAX]
            case 1:
                keys = [self.bytes(32)]
        head = self.desk.head(self.world.ledger.desk.did, parent=lease)
        order = self.desk.sign(Capture(head, lease, voucher, tuple(keys), self.sim.rng.random() < 0.1)).envelope
        Call(self.sim, self, lambda: self.world.ledger.submit(order), lambda _answer: None, "grab",
             until=self.sim.now + 10_000)  # fmt: skip


# --- ledgers ----------------------------------------------------------------------------------------------------------


class LyingLedger(LedgerActor):
    """Signs a state of the hold that its own book does not have."""

    honest = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lies = 0

    def ask(self, query: Envelope) -> Envelope | None:
        answer = super().ask(query)
        if answer is None or answer.payload_type == Decline.TYPE:
            return answer
        state = dsse.read(answer, HoldState).doc
        self.lies += 1
        lie: dict[str, Any] = self.sim.rng.choice((
            {"captured": state.amount, "released": 0, "closed": True},
            {"captured": state.captured + state.amount + 1},
            {"released": 0, "closed": True, "captured": min(state.captured, state.amount - 1)},
            {"amount": state.amount + 1},
        ))  # fmt: skip
        return self.desk.sign(replace(state, **lie)).envelope


CLIENTS = (VanishingClient, PartialLocks, FakeLocks, Lowering, OverCap, Foreign, OtherBytes)
PROVIDERS = (Withholder, NoiseMaker, Dearer, WrongGoods, TwoLocks, Grabber)
