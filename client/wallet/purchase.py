"""A job as people see it. Rule: it says only what the wallet's documents say, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.client.wallet import budget
from gpufair.client.wallet.store import JobRow, LeaseRow
from gpufair.protocol import wire
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.lifecycle import JOB, JobState
from gpufair.protocol.messages import JobBody, JobEnded, JobHeader, Offer, Reason, Receipt, Spec


@dataclass(frozen=True, slots=True)
class Goods:
    """A delivery of picture `index`. `size` is that of what it opened, 0 until then; `receipt` the envelope's bytes.

    It came under `lease` for `job`, as number `place` of its pictures: another job's, where the work went on elsewhere.
    """

    index: int
    size: int
    receipt: bytes
    amount: int
    locked: bool
    keyed: bool
    lease: bytes
    job: bytes
    place: int

    @property
    def is_open(self) -> bool:
        """Whether it is ours to look at."""
        return self.size > 0

    @property
    def is_false(self) -> bool:
        """Whether its key opened something that the receipt doesn't say."""
        return self.keyed and not self.is_open

    @property
    def claim(self) -> Receipt:
        """What the provider states about it."""
        return from_bytes(self.receipt, Receipt).doc


@dataclass(frozen=True, slots=True)
class Picture(Goods):
    """The picture itself, a PNG."""


@dataclass(frozen=True, slots=True)
class Checkpoint(Goods):
    """Its state after `step` steps, from which it can go on elsewhere."""

    step: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """A job with the lease that it was bought under, and with everything that went on with it elsewhere."""

    job: JobRow
    lease: LeaseRow
    spent: int
    """What our vouchers promise for it; once the lease is settled, what the ledger paid. Under a lease with other jobs
    it is this one's share.
    """
    pictures: tuple[Picture, ...]
    proofs: tuple[bytes, ...]
    """Ids of the signed documents in the wallet that prove that provider or ledger broke the deal."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """The states that were bought on the way, by picture and step."""
    parts: tuple[Purchase, ...] = ()
    """What was ordered elsewhere because this job left it undone; what they brought and cost is in the fields above."""

    @property
    def spec(self) -> Spec:
        """The job's public part."""
        return from_bytes(self.job.header, JobHeader).doc.spec

    @property
    def body(self) -> JobBody:
        """The job's secret part, but for the pictures that it begins from."""
        return wire.decode(JobBody, self.job.body)

    @property
    def opened(self) -> tuple[Picture, ...]:
        """The pictures that are ours."""
        return tuple(picture for picture in self.pictures if picture.is_open)

    @property
    def is_whole(self) -> bool:
        """Whether every picture is here."""
        return len(self.opened) == self.job.count

    @property
    def last(self) -> Purchase:
        """The part that the work hangs on now, or ended with: itself, if what it left is not ordered elsewhere."""
        waiting = [part for part in self.parts if not part.is_whole]
        if waiting or (self.parts and self.is_whole):
            return (waiting or self.parts)[-1].last
        return self

    @property
    def leases(self) -> tuple[LeaseRow, ...]:
        """Every lease that something was bought under for it, in their order."""
        return (self.lease, *(lease for part in self.parts for lease in part.leases))

    @property
    def state(self) -> str:
        """How far the work is."""
        return self.last.job.state

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of the job itself, nor of what went on with it."""
        return JOB.is_terminal(JobState(self.job.state)) and all(part.is_over for part in self.parts)

    @property
    def is_settled(self) -> bool:
        """Whether the ledgers have closed every hold."""
        return all(map(budget.is_closed, self.leases))

    @property
    def offer(self) -> Offer:
        """The offer that the lease was made under."""
        return from_bytes(self.lease.offer, Offer).doc

    @property
    def model_name(self) -> str:
        """What the seller called the model."""
        return next((m.name for m in self.offer.models if m.digest == self.spec.model), self.spec.model.hex()[:12])

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why the provider ended the job, in its own signed words."""
        return from_bytes(self.job.ended, JobEnded).doc.reasons if self.job.ended else ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a job is: all that a conversation asks after every word, and no more than that."""

    state: str
    distrust: str
    all_locked: bool
    keys_missing: bool
    """Whether something is signed for and not open."""

    @property
    def has_ended(self) -> bool:
        """Whether the job itself is over: what it brought may still wait for its key."""
        return JOB.is_terminal(JobState(self.state))

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.has_ended and not self.keys_missing

    @property
    def waits_for_key(self) -> bool:
        """Whether everything that will come is here and locked, and only keys are missing."""
        return (self.state == JobState.DELIVERED and self.all_locked) or (self.has_ended and self.keys_missing)
