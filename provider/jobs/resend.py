"""Saying again what a client may have missed. Rule: what is sent again is what was stored, byte for byte."""

from __future__ import annotations

from gpufair.protocol import limits, wire
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Answer, Chunk, Delivery, Envelope, JobHeader, KeyReveal, Progress
from gpufair.provider.jobs.effects import Effect, Send
from gpufair.provider.jobs.lookup import find_attempt
from gpufair.provider.jobs.store import DeliveryRow


def reattach(rows: Rows, lease: bytes, job: bytes) -> list[Effect]:
    """Everything that the client of a job may have missed: the answer, deliveries, keys that are out, the end."""
    attempt = find_attempt(rows, lease, job)
    effects: list[Effect] = [Send(lease, Answer(job, wire.decode(Envelope, attempt.answer)))]
    steps = from_bytes(attempt.header, JobHeader).doc.spec.steps
    for delivery in rows.all(DeliveryRow, order="picture", lease=lease, job=job):
        leaves = [delivery.leaves[i : i + 32] for i in range(0, len(delivery.leaves), 32)]
        effects += [Send(lease, Progress(job, delivery.picture, step, steps, leaf)) for step, leaf in enumerate(leaves)]
        effects += [Send(lease, message) for message in delivery_messages(delivery)]
        if delivery.revealed:
            effects.append(Send(lease, KeyReveal(job, delivery.picture, delivery.key)))
    if attempt.ended:
        effects.append(Send(lease, Answer(job, wire.decode(Envelope, attempt.ended))))
    return effects


def delivery_messages(delivery: DeliveryRow) -> list[Delivery | Chunk]:
    """A delivery on the wire: its receipt, then the ciphertext in pieces; nothing once its hold has closed."""
    if not delivery.cipher:
        return []
    job, picture, cipher = delivery.job, delivery.picture, delivery.cipher
    pieces = [
        Chunk(job, picture, offset, cipher[offset : offset + limits.CHUNK])
        for offset in range(0, len(cipher), limits.CHUNK)
    ]
    return [Delivery(job, picture, wire.decode(Envelope, delivery.receipt)), *pieces]
