"""Saying again what a client may have missed. Rule: what is sent again is what was stored, byte for byte.

Who has signed a lock for a delivery has it on disk (rule 8), so of each lease one delivery at most goes out again.
"""

from __future__ import annotations

from gpufair.protocol import limits, trace, wire
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Answer, Chunk, Delivery, Envelope, JobHeader, KeyReveal, Progress, Spec, Voucher
from gpufair.provider.jobs.account import in_order
from gpufair.provider.jobs.effects import Effect, Send
from gpufair.provider.jobs.lookup import find_attempt
from gpufair.provider.jobs.store import DeliveryDue, DeliveryRow, LeaseRow


def reattach(rows: Rows, lease: LeaseRow, job: bytes) -> list[Effect]:
    """Everything that the client of a job may have missed: the answer, deliveries, keys that are out, the end."""
    attempt = find_attempt(rows, lease.id, job)
    effects: list[Effect] = [Send(lease.id, Answer(job, wire.decode(Envelope, attempt.answer)))]
    locks = from_bytes(lease.kept, Voucher).doc.locks if lease.kept else ()
    has = {lock.hashlock for lock in locks}
    spec = from_bytes(attempt.header, JobHeader).doc.spec
    for delivery in sorted(rows.all(DeliveryDue, lease=lease.id, job=job), key=in_order):
        if delivery.revealed:
            effects.append(Send(lease.id, KeyReveal(job, delivery.picture, delivery.key, delivery.step)))
        elif delivery.hashlock not in has:
            whole = rows.get(DeliveryRow, lease=lease.id, hashlock=delivery.hashlock)
            effects += [Send(lease.id, message) for message in _from_the_first_step(whole, spec)] if whole else []
    if attempt.ended:
        effects.append(Send(lease.id, Answer(job, wire.decode(Envelope, attempt.ended))))
    return effects


def _from_the_first_step(delivery: DeliveryRow, spec: Spec) -> list[Progress | Delivery | Chunk]:
    leaves = enumerate(trace.split(delivery.leaves), spec.done)
    told = [Progress(delivery.job, delivery.picture, step, spec.steps, leaf) for step, leaf in leaves]
    return [*told, *delivery_messages(delivery)]


def delivery_messages(delivery: DeliveryRow) -> list[Delivery | Chunk]:
    """A delivery on the wire: its receipt, then the ciphertext in pieces; nothing once its hold has closed."""
    if not delivery.cipher:
        return []
    job, picture, cipher, step = delivery.job, delivery.picture, delivery.cipher, delivery.step
    pieces = [
        Chunk(job, picture, offset, cipher[offset : offset + limits.CHUNK], step)
        for offset in range(0, len(cipher), limits.CHUNK)
    ]
    return [Delivery(job, picture, wire.decode(Envelope, delivery.receipt), step), *pieces]
