"""Sellers that don't keep to the rules. Rule: each is the honest actor with one lie in it, and it counts its lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from actors import ProviderActor
from network import Call, Stream

from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits, payment, sealing
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import (
    Answer,
    Capture,
    Chunk,
    Delivery,
    Envelope,
    JobAcceptance,
    KeyReveal,
    Receipt,
    Voucher,
)
from gpufair.provider.jobs.deliveries import Deliveries, Made
from gpufair.provider.jobs.pieces import Piece
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow


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


class NoiseDeliveries(Deliveries):
    """Encrypts noise under a receipt for the picture."""

    told: Callable[[], None]

    def sealed(self, attempt: AttemptRow, piece: Piece, made: Made, due: int) -> DeliveryRow:
        row = super().sealed(attempt, piece, made, due)
        self.told()
        noise = sealing.encrypt_output(bytes(len(made.data)), row.key)
        receipt = from_bytes(row.receipt, Receipt).doc
        receipt = replace(receipt, cipher_sha256=hashlib.sha256(noise).digest(), cipher_length=len(noise))
        return replace(row, cipher=noise, receipt=self._desk.sign(receipt).bytes)


class NoiseMaker(CheatingProvider):
    """Its keys open noise."""

    def boot(self) -> None:
        super().boot()
        noisy = NoiseDeliveries(self.desk, lambda _model: True)
        noisy.told = self._told
        self.attempts._deliveries = noisy

    def _told(self) -> None:
        self.lies += 1


class FalseDeliveries(Deliveries):
    """Sells another state than the one that the trace has there: only whoever opens it can tell."""

    told: Callable[[], None]

    def sealed(self, attempt: AttemptRow, piece: Piece, made: Made, due: int) -> DeliveryRow:
        if not piece.whole:
            self.told()
            made = replace(made, data=hashlib.sha256(made.data).digest())
        return super().sealed(attempt, piece, made, due)


class FalseStates(CheatingProvider):
    """Its checkpoints are worth nothing."""

    def boot(self) -> None:
        super().boot()
        false = FalseDeliveries(self.desk, lambda _model: True)
        false.told = self._told
        self.attempts._deliveries = false

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
            place = (message.job, message.picture, message.step)
            query = "SELECT receipt, cipher FROM deliveries WHERE job=? AND picture=? AND step=?"
            [(receipt, cipher)] = self.db.rows(query, *place)
            first = Delivery(message.job, message.picture, from_bytes(receipt, Receipt).envelope, message.step)
            super().speak(stream, self.receipt(first, hashlock=payment.hashlock(self.bytes(32))))
            super().speak(stream, Chunk(message.job, message.picture, 0, cipher, message.step))


class Grabber(CheatingProvider):
    """Captures whatever it can: twice, in a race, with old vouchers, without keys, and after expiry."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.vouchers: dict[bytes, list[bytes]] = {}
        self.final_late = self.sim.rng.random() < 0.5

    def order(self, lease: bytes, document: Envelope) -> list[Any]:
        effects = super().order(lease, document)
        if document.payload_type == Voucher.TYPE:
            self.vouchers.setdefault(lease, []).append(dsse.read(document, Voucher).bytes)
            for _ in range(2):
                self.later(self.sim.rng.randrange(0, 50), lambda: self.grab(lease))
            if self.final_late:
                expires = self.leases.get(lease).expires_ms
                self.later(expires - self.now_ms() + 2 * limits.MARGIN_MIN_MS, lambda: self.grab(lease))
        return effects

    def grab(self, lease: bytes) -> None:
        """One capture of any voucher that ever came, with every key that we have for it."""
        self.lies += 1
        voucher = self.sim.rng.choice(self.vouchers[lease])
        locks = [x.hashlock for x in from_bytes(voucher, Voucher).doc.locks]
        own = dict(self.db.rows("SELECT hashlock, key FROM deliveries"))
        keys = [own[lock] for lock in locks if lock in own]
        match self.sim.rng.randrange(5):
            case 0:
                keys = [*keys, *keys][: limits.LOCKS_MAX]
            case 1:
                keys = [self.bytes(32)]
        bank = self.world.banks[self.leases.get(lease).ledger]
        head = self.desk.head(bank.desk.did, parent=lease)
        order = self.desk.sign(Capture(head, lease, voucher, tuple(keys), self.sim.rng.random() < 0.1)).envelope
        Call(self.sim, self, lambda: bank.submit(order), lambda _answer: None, "grab",
             until=self.sim.now + 10_000, to=bank.name)  # fmt: skip
