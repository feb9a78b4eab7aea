"""Pictures and checkpoints on their way in. Rule: a delivery is checked and on disk before its lock is signed.

Numbers refer to the rules in docs/payment.md.
"""

from __future__ import annotations

from dataclasses import replace

from gpufair.client.session import events as ev
from gpufair.client.session.arrivals import Arrivals, Place
from gpufair.client.session.checks import Expected, faults, largest_cipher
from gpufair.client.session.purse import Purse
from gpufair.client.session.turn import Turn
from gpufair.client.wallet import evidence, sequels
from gpufair.client.wallet.deliveries import DeliveryKey, DeliveryRow, LeavesRow
from gpufair.client.wallet.store import BodyRow, JobRow
from gpufair.protocol import limits, trace, wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import JOB, JobEvent, JobState
from gpufair.protocol.messages import (
    Bid,
    Chunk,
    Delivery,
    Goods,
    InputKind,
    JobAcceptance,
    JobBody,
    JobHeader,
    Order,
    Preview,
    Progress,
    Receipt,
    Spec,
)

_DELIVERABLE = (JobState.RUNNING, JobState.CANCELLED, JobState.FAILED, JobState.EXPIRED)
"""States of a job whose pictures we take: what was made before it stopped is due (rule 5), and we want it."""


class Incoming:
    """What arrives under one lease: trace leaves, previews, receipts, ciphertexts."""

    def __init__(self, desk: Desk, store: RowStore, purse: Purse) -> None:
        self._desk = desk
        self._store = store
        self._purse = purse
        self._arrivals = Arrivals()
        self._specs: dict[bytes, Spec] = {}
        self._asked: dict[Place, int] = {}
        self._begun: set[bytes] = set()
        """Jobs that are known to be at work."""

    def new_stream(self) -> None:
        """All may be said again, and asked for again."""
        self._asked.clear()
        self._begun.clear()

    def progress(self, message: Progress) -> Turn:
        """A step is done."""
        spec = self._spec((message.job, message.picture))
        if not spec.done <= message.step <= spec.steps:
            raise PeerError(Fault.MALFORMED, f"step {message.step} of {spec.steps}, of which {spec.done} were done")
        self._arrivals.step(message)
        if message.job not in self._begun:
            with self._store.note() as rows:
                self._running(rows, self._purse.job(rows, message.job))
            self._begun.add(message.job)
        return Turn(events=[ev.StepDone(message.job, message.picture, message.step, spec.steps)])

    def preview(self, message: Preview) -> Turn:
        """A look at the picture on its way."""
        self._spec((message.job, message.picture))
        return Turn(events=[ev.PreviewSeen(message.job, message.picture, message.step, message.png)])

    def begin(self, message: Delivery) -> None:
        """A delivery begins with its receipt."""
        place = (message.job, message.picture)
        spec = self._spec(place)
        receipt = self._desk.receive_recorded(message.receipt, Receipt, me=BROADCAST)
        if ((receipt.doc.job, receipt.doc.picture), _step(receipt.doc)) != (place, message.step):
            raise PeerError(Fault.MALFORMED, "the receipt is for another delivery")
        if message.step >= spec.steps:
            raise PeerError(Fault.MALFORMED, f"a checkpoint after step {message.step} of {spec.steps}")
        largest = largest_cipher(spec, message.step)
        if receipt.doc.cipher_length > largest:
            what = f"a ciphertext of {receipt.doc.cipher_length} bytes: what was ordered has at most {largest}"
            raise PeerError(Fault.TOO_LARGE, what)
        self._arrivals.begin(place, message.step, receipt)

    def piece(self, message: Chunk) -> Turn:
        """A piece of ciphertext; with the last one the delivery is judged, and paid for."""
        whole = self._arrivals.piece(message)
        return self._arrived(*whole) if whole else Turn()

    def _spec(self, place: Place) -> Spec:
        """What was ordered there; a provider can't fill our memory with pictures that nobody wants."""
        job, picture = place
        spec = self._specs.get(job)
        if spec is None:
            with self._store.read() as rows:
                spec = from_bytes(self._purse.job(rows, job).header, JobHeader).doc.spec
            self._specs[job] = spec
        if picture >= spec.count:
            raise PeerError(Fault.MALFORMED, f"picture {picture} of {spec.count}")
        return spec

    @staticmethod
    def _running(rows: Rows, job: JobRow) -> JobRow:
        """The provider is at work on the job, whatever we heard of it before."""
        if job.state == JobState.PLACED and job.acceptance:
            job = replace(job, state=JOB.after(JobState.PLACED, JobEvent.START))
            rows.change(JobRow, {"id": job.id, "lease": job.lease}, state=job.state)
        return job

    def _arrived(self, receipt: Signed[Receipt], cipher: bytes) -> Turn:
        """A whole delivery: check it, write it down, and in a transaction of its own sign for it (rules 8, 9)."""
        claim = receipt.doc
        place, step, wrong = (claim.job, claim.picture), _step(claim), list[str]()
        # The voucher below is on disk only together with this: it need not wait for the disk itself.
        with self._store.note() as rows:
            job = self._running(rows, self._purse.job(rows, claim.job))
            have = rows.get(DeliveryKey, lease=self._purse.lease, job=job.id, picture=claim.picture, step=step)
            if have is None:
                if not self._is_wanted(rows, job):
                    return Turn()
                known = self._expected(rows, job, claim)
                if _misses_something(claim, known):
                    return self._ask_again(place, job)
                wrong = self._faults(rows, receipt, cipher, known)
                if not wrong:
                    self._write_down(rows, job, receipt, cipher, known.leaves)
        if wrong:
            why = "; ".join(wrong)
            with self._store.begin() as rows:
                evidence.keep(rows, self._purse.lease, why, receipt, job=claim.job, cipher=cipher)
                return self._purse.distrust(rows, self._purse.job(rows, claim.job), why)
        self._arrivals.forget(place, claim.last_step)
        if have is not None and have.key:
            return Turn()
        with self._store.begin() as rows:
            return self._purse.pay_deliveries(rows)

    def _is_wanted(self, rows: Rows, job: JobRow) -> bool:
        """Whether we take a delivery of this job at all: not once we have given its provider up, or gone on elsewhere.

        A job that its provider has stopped may still have a last checkpoint on its way.
        """
        is_open = job.state in _DELIVERABLE or (job.state == JobState.STOPPED and bool(job.ended))
        is_mine = not sequels.of(rows, job.lease, job.id) and not self._purse.row(rows).distrust
        return bool(job.acceptance) and is_open and is_mine

    def _ask_again(self, place: Place, job: JobRow) -> Turn:
        """Steps went missing on the way, which is nobody's fault: have all of it sent again, but not for ever."""
        asked = self._asked[place] = self._asked.get(place, 0) + 1
        again = asked <= limits.ASK_AGAIN_MAX
        return Turn([Order(from_bytes(job.header, JobHeader).envelope)] if again else [])

    def _write_down(
        self, rows: Rows, job: JobRow, receipt: Signed[Receipt], cipher: bytes, leaves: tuple[bytes, ...]
    ) -> None:
        claim, step = receipt.doc, _step(receipt.doc)
        rows.insert(
            DeliveryRow(
                lease=self._purse.lease, job=job.id, picture=claim.picture, receipt=receipt.bytes, cipher=cipher,
                hashlock=claim.hashlock, amount=claim.increment, locked=False, key=b"", plain=b"", step=step,
                leaves=b"".join(leaves) if step else b"",
            )
        )  # fmt: skip
        arrived = len(rows.all(DeliveryKey, lease=self._purse.lease, job=job.id, step=0))
        if arrived == job.count and job.state == JobState.RUNNING:
            done = JOB.after(JobState.RUNNING, JobEvent.DELIVER)
            rows.change(JobRow, {"id": job.id, "lease": job.lease}, state=done)

    def _expected(self, rows: Rows, job: JobRow, claim: Receipt) -> Expected:
        """What the wallet knows of the next delivery of a picture.

        The leaves of what was delivered before are on disk: a provider that tells others by now is found out.
        """
        place, spec, lease = (job.id, claim.picture), self._spec((job.id, claim.picture)), self._purse.row(rows)
        before = rows.all(DeliveryKey, lease=lease.id, job=job.id, picture=claim.picture)
        after = max((spec.steps if one.step == 0 else one.step for one in before), default=spec.done)
        kept = self._leaves(rows, job, claim.picture, after) if before else []
        later = self._arrivals.leaves(place, spec.done + len(kept), claim.last_step)
        return Expected(
            provider=lease.provider,
            job=from_bytes(job.header, JobHeader),
            attempt=from_bytes(job.acceptance, JobAcceptance).doc.attempt,
            sheet=from_bytes(lease.envelope, Bid).doc.sheet,
            window=lease.window,
            after=after,
            leaves=(*kept, *later)[: claim.last_step - spec.done + 1],
            start=self._start(rows, job, spec),
        )

    @staticmethod
    def _leaves(rows: Rows, job: JobRow, picture: int, step: int) -> list[bytes]:
        row = rows.get(LeavesRow, lease=job.lease, job=job.id, picture=picture, step=step)
        joined = row.leaves if row is not None else b""
        return [joined[at : at + trace.DIGEST_BYTES] for at in range(0, len(joined), trace.DIGEST_BYTES)]

    @staticmethod
    def _start(rows: Rows, job: JobRow, spec: Spec) -> bytes:
        """The leaf that the trace of a job that goes on must begin with."""
        body = rows.get(BodyRow, lease=job.lease, job=job.id) if spec.done else None
        inputs = wire.decode(JobBody, body.plain).inputs if body is not None else ()
        return next((trace.leaf(spec.done, one.data) for one in inputs if one.kind is InputKind.STATE), b"")

    def _faults(self, rows: Rows, receipt: Signed[Receipt], cipher: bytes, known: Expected) -> list[str]:
        wrong = faults(receipt, cipher, known)
        if rows.get(DeliveryKey, lease=self._purse.lease, hashlock=receipt.doc.hashlock) is not None:
            wrong.append("its hashlock was used before")
        return wrong


def _misses_something(claim: Receipt, known: Expected) -> bool:
    """Whether leaves, or a delivery before this one, are not here: all that has come may still be as it should."""
    spec = known.job.doc.spec
    leaves = min(claim.last_step, spec.steps) - spec.done + 1
    return len(known.leaves) < leaves or claim.first_step > known.after


def _step(claim: Receipt) -> int:
    """Which delivery of its picture it is, as messages and rows say it."""
    return 0 if claim.goods is Goods.PICTURE else claim.last_step
