"""Golden vectors: `python tests/vectors/generate.py` writes them, and the same bytes every time.

Whoever writes another implementation checks it against these files; a change in one is a change of the protocol.
Everything comes from fixed seeds: identity n is the Ed25519 key of the seed of 32 bytes n.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import types
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gpufair.protocol import book, envelope, fields, journal, messages, payment, pricing, sealing, trace, wire
from gpufair.protocol.envelope import Signed
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Capture,
    Event,
    Head,
    HoldOrder,
    Issue,
    JobBody,
    JournalHead,
    Lock,
    Precision,
    PriceSheet,
    Scheduler,
    Spec,
    Task,
    Voucher,
)
from gpufair.protocol.payment import Promise

HERE = Path(__file__).parent
NOW = 1_800_000_000_000
HOUR = 3_600_000
BANK, ALICE, BOB = (KeySigner.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
LEASE = hashlib.sha256(b"lease").digest()
SEALED = (  # sealing is random, so one outcome is kept: it must open for ever
    "820e157ad77c90ae8192387ec0543cc2f4b2949a04a81e32fc5bd792d8add36a278914d7a9823b5c65b0736c39c00d84dec4"
    "4c958ac93216da9f67b5a76f1728910956bb0b0782ecd079c85cb223bb4332b3267144"
)


def identities() -> Iterator[dict[str, Any]]:
    """Seeds and the dids of their keys, each with a signature of three bytes."""
    for seed in (bytes(32), bytes([1]) * 32, bytes(range(32)), bytes([255]) * 32):
        signer = KeySigner.from_seed(seed)
        public = signer.key.public_key().public_bytes_raw()
        yield {"seed": seed, "public_key": public, "did": signer.did, "signature_of_abc": signer.sign(b"abc")}


def encodings() -> Iterator[dict[str, Any]]:
    """DSSE's pre-authentication encoding; the first is the specification's own example."""
    cases = [("http://example.com/HelloWorld", b"hello world"), ("", b""), ("\N{SNOWMAN}", bytes(range(12)))]
    for kind, payload in cases:
        encoded = envelope.pre_authentication_encoding(kind, payload)
        yield {"type": kind, "payload": payload, "encoding": encoded, "id": hashlib.sha256(encoded).digest()}


def documents() -> Iterator[dict[str, Any]]:
    """A signed document of every kind, each field filled by `sample`."""
    kinds = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, messages.Document)]
    for kind in sorted(kinds, key=lambda one: one.TYPE):
        if kind.TYPE:
            signed = envelope.sign(dataclasses.replace(sample(kind), head=_head(ALICE, BOB.did)), ALICE)
            yield {"kind": kind.__name__, **_shown(signed)}


def payments() -> Iterator[dict[str, Any]]:
    """A voucher with two locks, and captures that show none, one and both of the keys."""
    keys = [hashlib.sha256(name).digest() for name in (b"first key", b"second key")]
    locks = tuple(Lock(amount, payment.hashlock(key)) for amount, key in zip((300, 500), keys, strict=True))
    voucher = envelope.sign(Voucher(_head(ALICE, BANK.did, BOB.did), LEASE, 1_000, locks), ALICE)
    promise = Promise.of(voucher.doc)
    yield {"voucher": _shown(voucher), "hashlocks": [lock.hashlock for lock in locks], "unlocked": 1_000}
    for shown in ((), (keys[0],), tuple(keys)):
        capture = envelope.sign(Capture(_head(BOB, BANK.did), LEASE, voucher.bytes, shown, False), BOB)
        folded = promise
        for key in shown:
            folded = payment.fold(folded, key)
        yield {
            "keys": list(shown),
            "worth": payment.worth(promise, shown),
            "paid_of_a_hold_of_1500_that_paid_200": payment.payable(promise, shown, hold=1_500, captured=200),
            "unlocked_once_folded": folded.unlocked,
            "capture": _shown(capture),
        }


def traces() -> Iterator[dict[str, Any]]:
    """Trees of one to six leaves over latents of two floats, with the proof of the last leaf."""
    latents = [struct.pack("<2f", step + 0.5, -step) for step in range(6)]
    leaves = [trace.leaf(step, data) for step, data in enumerate(latents)]
    for count in range(1, 7):
        known = leaves[:count]
        yield {
            "latents": latents[:count],
            "leaves": known,
            "root": trace.root(known),
            "proof_of_the_last": trace.proof(known, count - 1),
        }


def journals() -> Iterator[dict[str, Any]]:
    """A ledger's first three events (issue, hold, capture), their chain, and the signed head."""
    state = journal.Auditor(BANK.did)
    key = hashlib.sha256(b"first key").digest()
    voucher = envelope.sign(
        Voucher(_head(ALICE, BANK.did, BOB.did), LEASE, 100, (Lock(50, payment.hashlock(key)),)), ALICE
    )
    orders: list[Signed[Any]] = [
        envelope.sign(Issue(_head(BANK, BANK.did), ALICE.did, 1_000, "invoice 1"), BANK),
        envelope.sign(HoldOrder(_head(ALICE, BANK.did), LEASE, BOB.did, 400, NOW + HOUR), ALICE),
        envelope.sign(Capture(_head(BOB, BANK.did), LEASE, voucher.bytes, (key,), True), BOB),
    ]
    for sequence, order in enumerate(orders, 1):
        posting = book.decide(state, BANK.did, book.instruct(order), NOW)
        assert isinstance(posting, book.Posting), posting
        event = Event(sequence, state.hash, posting.kind, NOW, posting.lease, order.bytes, posting.legs)
        data = wire.encode(event)
        state.feed([data])
        yield {"event": data, "digest": journal.digest(data), "hash": state.hash}
    head = envelope.sign(JournalHead(_head(BANK, ALICE.did), len(orders), state.hash), BANK)
    funds = {did: [*dataclasses.astuple(state.funds(did))] for did in (BANK.did, ALICE.did, BOB.did)}
    yield {"head": _shown(head), "issued_available_held": funds}


def quotes() -> Iterator[dict[str, Any]]:
    """Prices of jobs, line by line, in micro-credits."""
    sheet = PriceSheet(bytes(32), 1_000_000, 250_000, 5_000, 700, 20_000)
    for width, steps, count, guided, first in (
        (64, 20, 1, True, True),
        (512, 30, 4, True, False),
        (8, 1, 1, False, True),
    ):
        spec = Spec(
            Task.TEXT_TO_IMAGE, bytes(32), Scheduler.DDIM, Precision.EXACT, width, width, steps, count, guided, ()
        )
        price = pricing.quote(spec, sheet, first=first)
        yield {
            "sheet": wire.encode(sheet),
            "spec": wire.encode(spec),
            "first": first,
            "lines": [[line.line.value, line.quantity, line.unit, line.rate, line.amount] for line in price.lines],
            "upfront": price.upfront,
            "increment": price.increment,
            "total": price.total,
            "pieces": [
                {"window": window, "every": every, "last_steps": list(pricing.pieces(spec, sheet, window, every))}
                for window, every in ((price.increment, 0), (price.increment // 3, 0), (price.increment, 8))
            ],
        }


def secrets() -> Iterator[dict[str, Any]]:
    """A body sealed to a key (any number of sealings open to it), and a picture under its key."""
    private = X25519PrivateKey.from_private_bytes(bytes([7]) * 32)
    sealed, lease, job = bytes.fromhex(SEALED), LEASE, bytes(range(16))
    body = sealing.open_body(sealed, private, lease=lease, job=job)
    assert body == JobBody(bytes(16), "a cat", "a dog", 42, 7_500)
    names = {"private": private.private_bytes_raw(), "public": private.public_key().public_bytes_raw()}
    yield {**names, "lease": lease, "job": job, "sealed": sealed, "body": wire.encode(body)}
    key = hashlib.sha256(b"first key").digest()
    yield {"key": key, "plain": b"a picture", "cipher": sealing.encrypt_output(b"a picture", key)}


def sample(hint: Any, name: str = "field") -> Any:
    """A value for a field, the same every time: from the field's name and its bounds."""
    checks: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        checks = tuple(extras)
    size = next((check for check in checks if isinstance(check, fields.Size)), None)
    bounds = next((check for check in checks if isinstance(check, fields.Range)), None)
    digest = hashlib.sha256(name.encode()).digest()
    if get_origin(hint) is types.UnionType:
        return sample(next(arg for arg in get_args(hint) if arg is not type(None)), name)
    if get_origin(hint) is tuple:
        count = min(2, size.high if size else 2)
        return tuple(sample(get_args(hint)[0], f"{name} {n}") for n in range(count))
    if hint is bool:
        return True
    if hint is int:
        return bounds.low + digest[0] % (bounds.high - bounds.low + 1) if bounds else digest[0]
    if hint is bytes:
        return digest[: size.high] if size else digest
    if hint is str:
        return BOB.did if any(isinstance(check, fields.IsDid) for check in checks) else name
    if issubclass(hint, IntEnum):
        return max(hint)
    known = get_type_hints(hint, include_extras=True)
    return hint(**{field.name: sample(known[field.name], field.name) for field in dataclasses.fields(hint)})


def _head(issuer: KeySigner, *audience: str) -> Head:
    return Head(issuer.did, audience, hashlib.sha256(issuer.did.encode()).digest()[:16], NOW, NOW + 60_000)


def _shown(signed: Signed[Any]) -> dict[str, Any]:
    names = {"type": signed.envelope.payload_type, "issuer": signed.issuer, "id": signed.id}
    return {**names, "payload": signed.envelope.payload, "envelope": signed.bytes}


FILES: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "identity.json": identities,
    "encoding.json": encodings,
    "documents.json": documents,
    "payment.json": payments,
    "trace.json": traces,
    "journal.json": journals,
    "quote.json": quotes,
    "sealing.json": secrets,
}


def render(name: str) -> str:
    """The text of one file; bytes are hexadecimal."""
    vectors = list(FILES[name]())
    return json.dumps(vectors, indent=1, ensure_ascii=False, default=lambda data: data.hex()) + "\n"


if __name__ == "__main__":
    for file in FILES:
        (HERE / file).write_text(render(file), encoding="utf-8")
