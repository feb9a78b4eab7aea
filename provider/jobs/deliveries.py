"""What is delivered of an attempt. Rule: each delivery has a key of its own, and its receipt says what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from gpufair.protocol import limits, payment, sealing, trace
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Aead, Bid, Goods, JobHeader, Receipt
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.lookup import find
from gpufair.provider.jobs.pieces import Piece, following, pieces_end, stopped
from gpufair.provider.jobs.store import AttemptRow, DeliveryDue, DeliveryRow, LeaseRow


@dataclass(frozen=True, slots=True)
class Made:
    """What a worker has made, checked: the bytes of a PNG, or of the state after `step` steps.

    `leaves` are the trace's from its first state on (32 bytes each), `profile` is that of the worker.
    """

    data: bytes
    leaves: tuple[bytes, ...]
    profile: bytes
    step: int = 0


class Deliveries:
    """Which delivery of an attempt comes next, and how it is made. `carries` is that of `Attempts`."""

    def __init__(self, desk: Desk, carries: Callable[[bytes], bool]) -> None:
        self._desk, self._carries = desk, carries

    def following(self, rows: Rows, attempt: AttemptRow) -> Piece | None:
        """What comes after all that was delivered; None if nothing does."""
        header, bid = from_bytes(attempt.header, JobHeader).doc, _bid(rows, attempt)
        ends = pieces_end(header, bid.sheet, bid.window, carries=self._carries(header.spec.model))
        delivered = rows.all(DeliveryDue, lease=attempt.lease, job=attempt.job)
        return following(header.spec, bid.sheet, ends, delivered)

    def add(self, rows: Rows, attempt: AttemptRow, piece: Piece, made: Made) -> DeliveryRow:
        """Encrypt a piece under a fresh key, sign its receipt, and record both."""
        account = Account.load(rows, find(rows, attempt.lease))
        delivery = self.sealed(attempt, piece, made, account.work_due)
        rows.insert(delivery)
        rows.change(LeaseRow, {"id": attempt.lease}, active_ms=delivery.made_ms)
        return delivery

    def add_part(self, rows: Rows, attempt: AttemptRow, picture: int, made: Made) -> DeliveryRow | None:
        """The same for what was made of the piece at hand when it was stopped; None if there is nothing to sell."""
        spec, piece = from_bytes(attempt.header, JobHeader).doc.spec, self.following(rows, attempt)
        if piece is None or piece.picture != picture or not self._carries(spec.model):
            return None
        part = stopped(spec, _bid(rows, attempt).sheet, piece, made.step)
        return self.add(rows, attempt, part, made) if part is not None else None

    def sealed(self, attempt: AttemptRow, piece: Piece, made: Made, due: int) -> DeliveryRow:
        """A delivery, encrypted and with its signed receipt; `due` is what was due before it."""
        return _sealed(self._desk, attempt, piece, made, due)


def _bid(rows: Rows, attempt: AttemptRow) -> Bid:
    return from_bytes(find(rows, attempt.lease).envelope, Bid).doc


def _sealed(desk: Desk, attempt: AttemptRow, piece: Piece, made: Made, due: int) -> DeliveryRow:
    header = from_bytes(attempt.header, JobHeader)
    key = desk.random.bytes(limits.KEY_BYTES)
    cipher = sealing.encrypt_output(made.data, key)
    lock = payment.hashlock(key)
    receipt = Receipt(
        head=desk.head(BROADCAST, parent=header.id, expires_at_ms=limits.TIME_MAX_MS),
        lease=attempt.lease, job=attempt.job, attempt=attempt.id,
        goods=Goods.PICTURE if piece.whole else Goods.CHECKPOINT, picture=piece.picture,
        first_step=piece.first_step, last_step=piece.last_step,
        cipher_sha256=hashlib.sha256(cipher).digest(), cipher_length=len(cipher),
        plain_sha256=hashlib.sha256(made.data).digest(), plain_length=len(made.data),
        hashlock=lock, aead=Aead.AES_256_GCM, increment=piece.price, total_due=due + piece.price,
        trace_root=trace.root(made.leaves), leaf_count=len(made.leaves), profile=made.profile, spec=header.doc.spec,
    )  # fmt: skip
    return DeliveryRow(
        lease=attempt.lease, job=attempt.job, picture=piece.picture, attempt=attempt.id,
        receipt=desk.sign(receipt).bytes, cipher=cipher, leaves=b"".join(made.leaves), key=key, hashlock=lock,
        amount=piece.price, revealed=False, made_ms=desk.now_ms(), step=piece.step,
    )  # fmt: skip
