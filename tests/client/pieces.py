"""A provider that sells pictures in pieces, document by document: every one is really signed, every state is real."""

from dataclasses import dataclass, field, replace
from typing import Any

from gpufair.protocol import envelope, limits, payment, sealing, trace
from gpufair.protocol.messages import (
    Aead,
    Answer,
    Chunk,
    Delivery,
    Goods,
    JobEnded,
    JobHeader,
    KeyReveal,
    Outcome,
    Progress,
    Receipt,
)
from gpufair.protocol.pricing import piece


@dataclass
class Painter:
    """One picture of an accepted job, in the making."""

    d: Any
    job: bytes
    attempt: bytes
    header: Any
    look: int = 0
    """Which picture it is, whatever its number here: what it looks like depends on it."""
    picture: int = 0
    sold: int = -1
    """The step that the last delivery ended with."""
    keys: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, d: Any, job: bytes, look: int = 0) -> "Painter":
        """The job must have been ordered; it is accepted here."""
        d.pump()
        [row] = [row for row in d.attempts.in_state("queued") if row.job == job]
        painter = cls(d, job, row.id, envelope.from_bytes(row.header, JobHeader), look)
        painter.sold = painter.spec.done
        return painter

    @property
    def spec(self) -> Any:
        return self.header.doc.spec

    def state(self, step: int) -> bytes:
        """What is there after a step: it depends on nothing but picture and step."""
        return bytes([self.look, step]) * 32

    def leaf(self, step: int) -> bytes:
        return trace.leaf(step, self.state(step))

    def progress(self, first: int, last: int) -> list[Any]:
        """These steps are done."""
        steps = self.spec.steps
        return [Progress(self.job, self.picture, step, steps, self.leaf(step)) for step in range(first, last + 1)]

    def deliver(self, last: int, *, plain: bytes | None = None, key: bytes = b"", **lies: Any) -> list[Any]:
        """The steps since the last delivery, as one more: a checkpoint, or at the end the picture."""
        header, spec, is_picture = self.header, self.spec, last == self.spec.steps
        plain = plain or (b"\x89PNG" + self.job if is_picture else self.state(last))
        step, key = 0 if is_picture else last, key or self.d.clock.bytes(32)
        self.keys[step] = key
        cipher = sealing.encrypt_output(plain, key)
        leaves = [self.leaf(n) for n in range(spec.done, last + 1)]
        sheet, desk = self.d.session.account().bid.sheet, self.d.desks["provider"]
        increment = piece(spec, sheet, self.sold, last, whole=is_picture)
        receipt = Receipt(
            head=desk.head("*", parent=header.id, expires_at_ms=limits.TIME_MAX_MS), lease=self.d.lease, job=self.job,
            attempt=self.attempt, goods=Goods.PICTURE if is_picture else Goods.CHECKPOINT, picture=self.picture,
            first_step=self.sold, last_step=last, cipher_sha256=trace.hashlib.sha256(cipher).digest(),
            cipher_length=len(cipher), plain_sha256=trace.hashlib.sha256(plain).digest(), plain_length=len(plain),
            hashlock=payment.hashlock(key), aead=Aead.AES_256_GCM, increment=increment, total_due=increment,
            trace_root=trace.root(leaves), leaf_count=len(leaves), profile=bytes(32), spec=spec,
        )  # fmt: skip
        signed = desk.sign(replace(receipt, **lies))
        messages = self.progress(self.sold + (self.sold > spec.done), last)
        self.sold = last
        chunks = [
            Chunk(self.job, self.picture, at, cipher[at : at + limits.CHUNK], step)
            for at in range(0, len(cipher), limits.CHUNK)
        ]
        return [*messages, Delivery(self.job, self.picture, signed.envelope, step), *chunks]

    def reveal(self, step: int = 0) -> list[Any]:
        return [KeyReveal(self.job, self.picture, self.keys[step], step)]

    def end(self, outcome: Outcome) -> list[Any]:
        desk = self.d.desks["provider"]
        head = desk.head(self.d.desks["client"].did, parent=self.header.id)
        ended = desk.sign(JobEnded(head, self.d.lease, self.job, self.attempt, outcome, 0))
        return [Answer(self.job, ended.envelope)]


def hear(d: Any, *messages: Any) -> None:
    """The provider says all this."""
    for message in messages:
        d.say(d.session.on(message))
