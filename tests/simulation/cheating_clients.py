"""Buyers that don't keep to the rules. Rule: each is the honest actor with one lie in it, and it counts its lies."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from actor import signer
from buyer import ClientActor
from dealing import Dealing

from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.messages import Body, JobHeader, Lock, Order, Up, Voucher


class CheatingClient(ClientActor):
    """A client whose messages are changed on their way out."""

    honest = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lies = 0

    def outgoing(self, dealing: Dealing, ups: list[Up]) -> list[Any]:
        out: list[Any] = []
        for up in ups:
            if isinstance(up, Order) and up.envelope.payload_type == Voucher.TYPE:
                out += self.voucher(dsse.read(up.envelope, Voucher), up)
            else:
                out += self.other(up)
        return out

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
        for dealing in self.dealings.values():
            dealing.crash()
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

    def _cap(self, lease: bytes) -> int:
        [(cap,)] = self.db.rows("SELECT cap FROM leases WHERE id=?", lease)
        return int(cap)

    def voucher(self, voucher: Signed[Voucher], up: Order) -> list[Any]:
        return [self.signed(voucher.doc, unlocked=3 * self._cap(voucher.doc.lease))]


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
