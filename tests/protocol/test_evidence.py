"""Rule: a cheat is convicted by what it signed; whatever anybody makes of an honest node's words convicts nobody."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufair.protocol import evidence, limits, sealing, trace, wire
from gpufair.protocol.envelope import Signed
from gpufair.protocol.evidence import Proof, judge
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Aead,
    Audit,
    AuditAnswer,
    AuditFile,
    Crime,
    Envelope,
    Evidence,
    Goods,
    JobAcceptance,
    JobHeader,
    JournalHead,
    NodeRecord,
    Precision,
    Receipt,
    Role,
    Scheduler,
    Spec,
    Task,
)
from gpufair.protocol.messages.audit import Opening, Profile

STEPS, DONE = 6, 4
PROFILE = Profile("3.11", "2.13", "0.42", "5.23", "0.1", "cpu", "a cpu", "float32", flags=())


class Clock:
    def now_ms(self) -> int:
        return 1_800_000_000_000


class Dice:
    def __init__(self) -> None:
        self.drawn = 0

    def bytes(self, count: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(count, "big")


def desk(seed: bytes) -> Desk:
    return Desk(KeySigner.from_seed(seed * 32), Clock(), Dice())


SELLER, OTHER, CLIENT, BRINGER = (desk(seed) for seed in (b"s", b"o", b"c", b"b"))
HEAD = BRINGER.broadcast_head()
SPEC = Spec(Task.TEXT_TO_IMAGE, b"m" * 32, Scheduler.DDIM, Precision.EXACT, 64, 64, STEPS, 1, guided=False)
STATES = [bytes([step]) * 16 for step in range(STEPS + 1)]
LEAVES = [trace.leaf(step, state) for step, state in enumerate(STATES)]
KEY = b"k" * 32


def receipt(plain: bytes, cipher: bytes, *, key: bytes = KEY, by: Desk = SELLER, **fields: Any) -> Signed[Receipt]:
    """What a seller states of a delivery of these bytes."""
    doc = Receipt(
        by.head("*"), b"l" * 32, b"j" * 16, b"a" * 16, Goods.PICTURE, 0, 0, STEPS, hashlib.sha256(cipher).digest(),
        len(cipher), hashlib.sha256(plain).digest(), len(plain), hashlib.sha256(key).digest(), Aead.AES_256_GCM, 1, 1,
        trace.root(LEAVES), STEPS + 1, PROFILE.digest, SPEC,
    )  # fmt: skip
    return by.sign(replace(doc, **fields))


def checkpoint(state: bytes, **fields: Any) -> tuple[Signed[Receipt], bytes]:
    """A checkpoint after DONE steps, and its ciphertext."""
    cipher = sealing.encrypt_output(state, KEY)
    leaves = LEAVES[: DONE + 1]
    given = {"goods": Goods.CHECKPOINT, "last_step": DONE, "trace_root": trace.root(leaves), "leaf_count": len(leaves)}
    return receipt(state, cipher, **{**given, **fields}), cipher


def record(sequence: int, software: str, by: Desk = SELLER) -> Envelope:
    head = by.broadcast_head()
    return by.sign(NodeRecord(head, sequence, (Role.PROVIDER,), (), b"certificate", bytes(32), software)).envelope


def journal_head(sequence: int, digest: bytes, by: Desk = SELLER) -> Envelope:
    return by.sign(JournalHead(by.head("*"), sequence, digest)).envelope


def audit_file(**changes: Any) -> AuditFile:
    """An audit of one picture, answered; nobody says what a replay would show."""
    nonce = b"n" * 32
    committed = hashlib.sha256(nonce).digest()
    header = CLIENT.sign(
        JobHeader(CLIENT.head(SELLER.did), b"l" * 32, b"j" * 16, SPEC, b"w" * 32, b"b" * 32, committed, 1000, 0, 0)
    )
    taken = SELLER.head(CLIENT.did, parent=header.id)
    acceptance = SELLER.sign(JobAcceptance(taken, b"l" * 32, b"j" * 16, b"a" * 16, 1, 2))
    made = receipt(b"png", b"cipher", head=SELLER.head("*", parent=header.id))
    audit = CLIENT.sign(Audit(CLIENT.head(SELLER.did), b"l" * 32, b"j" * 16, 0, nonce))
    opening = Opening(0, 16, LEAVES[0], ())
    answered = AuditAnswer(SELLER.head(CLIENT.did, parent=audit.id), b"l" * 32, b"j" * 16, 0, 0, PROFILE, (opening,))
    file = AuditFile(
        header.bytes, acceptance.bytes, made.bytes, audit.bytes, SELLER.sign(answered).bytes, b"", b"", b"png"
    )
    return replace(file, **changes)


def proof(found: Evidence) -> Proof:
    return judge(wire.decode(Evidence, wire.encode(found))).proof  # as it comes over a wire


# --- what convicts ---------------------------------------------------------------------------------------------------


def noises() -> list[Evidence]:
    """Deliveries that are not what they were said to be: the key opens something else, or nothing."""
    plain = b"a picture"
    other = sealing.encrypt_output(b"something else", KEY)
    garbage = b"\0" * 64
    return [
        evidence.noise(HEAD, receipt(plain, cipher).envelope, cipher, KEY)
        for cipher in (other, garbage, sealing.encrypt_output(plain, b"x" * 32))
    ]


def false_leaves() -> list[Evidence]:
    """Checkpoints that are not the state of their trace: another state, or no whole numbers."""
    found = []
    for state in (STATES[1], b"odd"):
        claim, cipher = checkpoint(state)
        found.append(evidence.false_leaf(HEAD, claim.envelope, cipher, KEY, LEAVES[: DONE + 1]))
    return found


def convicting() -> list[Evidence]:
    """One of each kind, and no byte too many in any."""
    return [
        evidence.two_broadcasts(HEAD, record(7, "one"), record(7, "two")),
        evidence.two_heads(HEAD, journal_head(7, b"x" * 32), journal_head(7, b"y" * 32)),
        *noises(),
        *false_leaves(),
    ]


@pytest.mark.parametrize("found", convicting(), ids=lambda found: found.crime.name)
def test_a_cheat_is_convicted_by_its_own_signature(found: Evidence) -> None:
    assert proof(found) is Proof.PROVED
    assert judge(found).what
    assert evidence.fits(found)


@pytest.mark.parametrize("found", convicting(), ids=lambda found: found.crime.name)
def test_nobody_else_is(found: Evidence) -> None:
    assert proof(replace(found, accused=OTHER.did)) is Proof.DISPROVED
    for crime in Crime:
        if crime not in (found.crime, Crime.UNSPECIFIED):
            changed = proof(replace(found, crime=crime))
            assert changed is Proof.DISPROVED or (changed, found.crime) == (Proof.PROVED, Crime.NOISE)


@settings(max_examples=150, deadline=None)
@given(which=st.sampled_from(convicting()), data=st.data())
def test_no_bit_of_it_can_be_changed(which: Evidence, data: st.DataObject) -> None:
    """Changed in any byte of what convicts, it convicts nobody, or the same one still."""
    place = data.draw(st.sampled_from(["documents", "blobs"] if which.blobs else ["documents"]))
    parts = list(getattr(which, place))
    index = data.draw(st.integers(0, len(parts) - 1))
    position = data.draw(st.integers(0, len(parts[index]) - 1))
    changed = bytearray(parts[index])
    changed[position] ^= data.draw(st.integers(1, 255))
    parts[index] = bytes(changed)
    assert judge(replace(which, **{place: tuple(parts)})).proof is Proof.DISPROVED


def test_a_checkpoint_that_is_not_what_was_said_needs_no_leaves() -> None:
    claim, cipher = checkpoint(STATES[DONE], plain_sha256=b"x" * 32)
    assert proof(evidence.false_leaf(HEAD, claim.envelope, cipher, KEY, ())) is Proof.PROVED


def test_an_audit_is_for_a_replay_to_judge() -> None:
    found = evidence.failed_audit(HEAD, SELLER.did, wire.encode(audit_file()))
    assert proof(found) is Proof.REPLAY
    assert proof(replace(found, accused=OTHER.did)) is Proof.DISPROVED


# --- what convicts nobody --------------------------------------------------------------------------------------------


def honest() -> tuple[list[Envelope], list[bytes]]:
    """All that an honest seller may sign and give away: its enemies have it, and their own documents."""
    plain = b"a picture"
    cipher = sealing.encrypt_output(plain, KEY)
    state, state_cipher = checkpoint(STATES[DONE])
    documents = [
        receipt(plain, cipher).envelope, state.envelope, record(7, "one"), record(8, "two"),
        journal_head(7, b"x" * 32), journal_head(8, b"y" * 32), journal_head(7, b"x" * 32),
        record(7, "slander", by=OTHER), journal_head(7, b"z" * 32, by=OTHER),
        receipt(b"other", cipher, by=OTHER).envelope,
    ]  # fmt: skip
    leaves = b"".join(LEAVES[: DONE + 1])
    blobs = [cipher, state_cipher, KEY, b"q" * 32, leaves, leaves[32:], b"".join(LEAVES), plain, b""]
    return documents, blobs


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_slander_is_made_of_honest_words(data: st.DataObject) -> None:
    documents, blobs = honest()
    found = Evidence(
        HEAD, SELLER.did, data.draw(st.sampled_from([crime for crime in Crime if crime])),
        tuple(wire.encode(one) for one in data.draw(st.lists(st.sampled_from(documents), max_size=2))),
        tuple(data.draw(st.lists(st.sampled_from(blobs), max_size=3))),
    )  # fmt: skip
    assert judge(found).proof is Proof.DISPROVED


@settings(max_examples=150, deadline=None)
@given(
    found=st.builds(
        Evidence, st.just(HEAD), st.just(SELLER.did), st.sampled_from(Crime),
        st.lists(st.binary(max_size=300), max_size=2).map(tuple),
        st.lists(st.binary(max_size=80), max_size=3).map(tuple),
    )
)  # fmt: skip
def test_whatever_somebody_sends_is_judged(found: Evidence) -> None:
    assert judge(found).proof is Proof.DISPROVED


def test_pairs_that_show_nothing() -> None:
    one, head = record(7, "one"), journal_head(7, b"x" * 32)
    for found in (
        evidence.two_broadcasts(HEAD, one, record(7, "two", by=OTHER)),
        evidence.two_broadcasts(HEAD, one, one),
        evidence.two_broadcasts(HEAD, one, record(8, "two")),
        evidence.two_broadcasts(HEAD, head, journal_head(7, b"y" * 32)),
        evidence.two_heads(HEAD, head, journal_head(7, b"x" * 32)),
        evidence.two_heads(HEAD, head, journal_head(8, b"y" * 32)),
        evidence.two_heads(HEAD, head, journal_head(7, b"y" * 32, by=OTHER)),
    ):
        assert proof(found) is Proof.DISPROVED


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": b""},
        {"receipt": receipt(b"png", b"cipher").bytes},
        {"audit": CLIENT.sign(Audit(CLIENT.head(SELLER.did), b"l" * 32, b"j" * 16, 0, b"q" * 32)).bytes},
        {"audit": OTHER.sign(Audit(OTHER.head(SELLER.did), b"l" * 32, b"j" * 16, 0, b"n" * 32)).bytes},
        {"acceptance": b"\1"},
        {"header": audit_file().audit},
    ],
)
def test_an_audit_whose_documents_do_not_hold_together_shows_nothing(changes: dict[str, bytes]) -> None:
    found = evidence.failed_audit(HEAD, SELLER.did, wire.encode(audit_file(**changes)))
    assert proof(found) is Proof.DISPROVED


def test_what_is_too_large_does_not_travel() -> None:
    claim = receipt(b"a picture", b"x")
    assert not evidence.fits(evidence.noise(HEAD, claim.envelope, bytes(limits.PAYLOAD_MAX), KEY))
