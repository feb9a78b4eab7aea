"""Pictures on their way in. Rule: a delivery is checked and on disk before its lock is signed.

Numbers refer to the rules in docs/payment.md.
"""

from __future__ import annotations

from dataclasses import replace

from gpufair.client.session import events as ev
from gpufair.client.session.arrivals import Arrivals, Place
from gpufair.client.session.checks import faults, largest_cipher
from gpufair.client.session.purse import Purse
from gpufair.client.session.turn import Turn
from gpufair.client.wallet import evidence
from gpufair.client.wallet.store import DeliveryKey, DeliveryRow, JobRow
from gpufair.protocol import limits
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import JOB, JobEvent, JobState
from gpufair.protocol.messages import (
    Chunk,
    Delivery,
    JobAcceptance,
    JobHeader,
    Order,
    Preview,
    Progress,
    Receipt,
    Spec,
)

_DELIVERABLE = (JobState.RUNNING, JobState.CANCELLED, JobState.FAILED, JobState.EXPIRED)
"""States of a job whose pictures we take: what was made before it stopped is due (rule 5), and we want it."""


class Goods:
    """What arrives under one lease: trace leaves, previews, receipts, ciphertexts."""

    def __init__(self, desk: Desk, store: RowStore, purse: Purse) -> None:
        self._desk = desk
        self._store = store
        self._purse = purse
        self._arrivals = Arrivals()
        self._specs: dict[bytes, Spec] = {}
        self._asked: dict[Place, int] = {}

    def new_stream(self) -> None:
        """All may be said again, and asked for again."""
        self._asked.clear()

    def progress(self, message: Progress) -> Turn:
        """A step is done."""
        spec = self._spec((message.job, message.picture))
        if message.step > spec.steps:
            raise PeerError(Fault.MALFORMED, f"step {message.step} of {spec.steps}")
        self._arrivals.step(message)
        if message.step <= 1:
            with self._store.note() as rows:
                self._running(rows, self._purse.job(rows, message.job))
        return Turn(events=[ev.StepDone(message.job, message.picture, message.step, spec.steps)])

    def preview(self, message: Preview) -> Turn:
        """A look at the picture on its way."""
        self._spec((message.job, message.picture))
        return Turn(events=[ev.PreviewSeen(message.job, message.picture, message.step, message.png)])

    def begin(self, message: Delivery) -> None:
        """A delivery begins with its receipt."""
        place = (message.job, message.picture)
        largest = largest_cipher(self._spec(place))
        receipt = self._desk.receive_recorded(message.receipt, Receipt, me=BROADCAST)
        if (receipt.doc.job, receipt.doc.picture) != place:
            raise PeerError(Fault.MALFORMED, "the receipt is for another picture")
        if receipt.doc.cipher_length > largest:
            what = f"a ciphertext of {receipt.doc.cipher_length} bytes: a picture of this size has at most {largest}"
            raise PeerError(Fault.TOO_LARGE, what)
        self._arrivals.begin(place, receipt)

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
        place, wrong = (claim.job, claim.picture), list[str]()
        # The voucher below is on disk only together with this: it need not wait for the disk itself.
        with self._store.note() as rows:
            job = self._running(rows, self._purse.job(rows, claim.job))
            have = rows.get(DeliveryKey, lease=self._purse.lease, job=job.id, picture=claim.picture)
            if have is None:
                if not job.acceptance or job.state not in _DELIVERABLE or self._purse.row(rows).distrust:
                    return Turn()
                if len(self._arrivals.leaves(place)) <= self._spec(place).steps:
                    return self._ask_again(place, job)
                wrong = self._faults(rows, job, receipt, cipher)
                if not wrong:
                    self._write_down(rows, job, receipt, cipher)
        if wrong:
            why = "; ".join(wrong)
            with self._store.begin() as rows:
                evidence.keep(rows, self._purse.lease, why, receipt, job=claim.job, cipher=cipher)
                return self._purse.distrust(rows, self._purse.job(rows, claim.job), why)
        self._arrivals.forget(place)
        if have is not None and have.key:
            return Turn()
        with self._store.begin() as rows:
            return self._purse.pay_deliveries(rows)

    def _ask_again(self, place: Place, job: JobRow) -> Turn:
        """Steps went missing on the way, which is nobody's fault: have all of it sent again, but not for ever."""
        asked = self._asked[place] = self._asked.get(place, 0) + 1
        again = asked <= limits.ASK_AGAIN_MAX
        return Turn([Order(from_bytes(job.header, JobHeader).envelope)] if again else [])

    def _write_down(self, rows: Rows, job: JobRow, receipt: Signed[Receipt], cipher: bytes) -> None:
        claim = receipt.doc
        rows.insert(
            DeliveryRow(
                lease=self._purse.lease, job=job.id, picture=claim.picture, receipt=receipt.bytes, cipher=cipher,
                hashlock=claim.hashlock, amount=claim.increment, locked=False, key=b"", plain=b"",
            )
        )  # fmt: skip
        arrived = len(rows.all(DeliveryKey, lease=self._purse.lease, job=job.id))
        if arrived == job.count and job.state == JobState.RUNNING:
            done = JOB.after(JobState.RUNNING, JobEvent.DELIVER)
            rows.change(JobRow, {"id": job.id, "lease": job.lease}, state=done)

    def _faults(self, rows: Rows, job: JobRow, receipt: Signed[Receipt], cipher: bytes) -> list[str]:
        wrong = faults(
            receipt,
            cipher,
            self._arrivals.leaves((job.id, receipt.doc.picture)),
            provider=self._purse.row(rows).provider,
            job=from_bytes(job.header, JobHeader),
            attempt=from_bytes(job.acceptance, JobAcceptance).doc.attempt,
            increment=job.increment,
        )
        if rows.get(DeliveryKey, lease=self._purse.lease, hashlock=receipt.doc.hashlock) is not None:
            wrong.append("its hashlock was used before")
        return wrong
