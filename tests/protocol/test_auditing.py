"""Which step an audit looks at, what an answer must show, and what its measurements come to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from gpufair.protocol import auditing, frame_answers, trace
from gpufair.protocol.auditing import Errors
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Aead, Goods, Head, Precision, Receipt, Scheduler, Spec, Task
from gpufair.protocol.messages.audit import AuditAnswer, Check, Opening, Profile, State, Verdict

STEPS = 9
NONCE = b"n" * 32
WORDS = ("3.11", "2.13", "0.42", "5.23", "0.1", "cpu", "a cpu", "float32")
PROFILE = Profile(*WORDS, flags=("threads 1", "deterministic"))
STATES = [State(step, bytes([step]) * 16) for step in range(STEPS + 1)]
LEAVES = [trace.leaf(state.step, state.data) for state in STATES]
DID = KeySigner.from_seed(b"p" * 32).did
HEAD = Head(DID, (DID,), b"i" * 16, 1, 2)


def receipt(**changes: Any) -> Receipt:
    spec = Spec(Task.TEXT_TO_IMAGE, b"m" * 32, Scheduler.DDIM, Precision.EXACT, 64, 64, STEPS, 1, guided=False)
    digest = b"d" * 32
    made = Receipt(
        HEAD, b"l" * 32, b"j" * 16, b"a" * 16, Goods.PICTURE, 0, 0, STEPS, digest, 100, digest, 90, digest,
        Aead.AES_256_GCM, 1, 1, trace.root(LEAVES), STEPS + 1, PROFILE.digest, spec,
    )  # fmt: skip
    return replace(made, **changes)


def opening(step: int) -> Opening:
    return Opening(step, 16, LEAVES[step], tuple(trace.proof(LEAVES, step)))


def answer(**changes: Any) -> AuditAnswer:
    step = auditing.drawn(trace.root(LEAVES), NONCE, STEPS)
    wanted = tuple(opening(one) for one in auditing.to_open(step, STEPS))
    return replace(AuditAnswer(HEAD, b"l" * 32, b"j" * 16, 0, step, PROFILE, wanted), **changes)


def test_the_step_is_drawn_evenly_and_by_both_words() -> None:
    drawn = Counter(auditing.drawn(trace.root(LEAVES), index.to_bytes(32, "big"), 10) for index in range(5_000))
    assert set(drawn) == set(range(10))
    assert min(drawn.values()) > 400
    other_root = [auditing.drawn(index.to_bytes(32, "big"), NONCE, 500) for index in range(20)]
    assert len(set(other_root)) > 15


def test_what_is_opened_has_no_state_twice() -> None:
    assert auditing.to_open(4, 9) == (0, 4, 5, 9)
    assert auditing.to_open(0, 9) == (0, 1, 9)
    assert auditing.to_open(8, 9) == (0, 8, 9)
    assert auditing.to_open(0, 1) == (0, 1)


def test_an_honest_answer_has_no_fault() -> None:
    assert auditing.answer_faults(answer(), receipt(), NONCE) == []
    assert all(auditing.is_behind(one, STATES[one.step]) for one in answer().openings)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"picture": 1}, "another picture"),
        ({"job": b"x" * 16}, "another picture"),
        ({"step": 99}, "where"),
        ({"openings": (opening(0), opening(STEPS))}, "asked for were"),
        ({"openings": tuple(opening(one) for one in (1, 2, 3, 4))}, "asked for were"),
        ({"profile": replace(PROFILE, dtype="bfloat16")}, "runtime profile"),
    ],
)
def test_an_answer_that_is_not_to_the_question_convicts_itself(changes: dict[str, Any], word: str) -> None:
    assert any(word in fault for fault in auditing.answer_faults(answer(**changes), receipt(), NONCE))


def test_a_leaf_that_is_not_in_the_tree_convicts() -> None:
    *rest, last = answer().openings
    false = replace(last, leaf=b"f" * 32)
    [fault] = auditing.answer_faults(answer(openings=(*rest, false)), receipt(), NONCE)
    assert f"state {last.step} does not lead" in fault
    moved = replace(opening(1), step=last.step)
    assert auditing.answer_faults(answer(openings=(*rest, moved)), receipt(), NONCE)


@pytest.mark.parametrize("nonce", [bytes([number]) * 32 for number in range(8)])
def test_a_picture_that_went_on_is_shown_by_the_steps_that_were_done_here(nonce: bytes) -> None:
    done = 4
    leaves = LEAVES[done:]
    claimed = receipt(
        spec=replace(receipt().spec, done=done), trace_root=trace.root(leaves), leaf_count=len(leaves), first_step=done
    )
    place = auditing.drawn(trace.root(leaves), nonce, STEPS - done)
    openings = tuple(
        Opening(done + one, 16, leaves[one], tuple(trace.proof(leaves, one)))
        for one in auditing.to_open(place, STEPS - done)
    )
    honest = answer(step=done + place, openings=openings)
    assert auditing.answer_faults(honest, claimed, nonce) == []
    shifted = tuple(replace(one, step=one.step - done) for one in openings)
    assert len(auditing.answer_faults(answer(step=place, openings=shifted), claimed, nonce)) >= 2


def test_states_are_the_bytes_behind_their_leaves() -> None:
    one = opening(3)
    for state in (State(3, b"\x04" * 16), State(4, STATES[4].data), State(3, b"\x03" * 20), State(3, b"\x03" * 15)):
        assert not auditing.is_behind(one, state)


def test_a_workers_words_and_a_documents_have_one_digest() -> None:
    theirs = frame_answers.RuntimeProfile(*WORDS, flags=("deterministic", "threads 1"))
    assert theirs.digest() == PROFILE.digest
    assert replace(PROFILE, torch="2.14").digest != PROFILE.digest
    assert replace(PROFILE, python="3.112", torch=".13").digest != PROFILE.digest


def test_within_one_profile_an_exact_job_may_differ_in_nothing() -> None:
    rows = {("cpu/float32", "cpu/float32"): Errors(1, 2, 3)}
    other = replace(PROFILE, flags=("threads 2",))
    assert auditing.bounds(rows, Precision.EXACT, PROFILE, PROFILE) == auditing.NOTHING
    assert auditing.bounds(rows, Precision.EXACT, PROFILE, other) == Errors(1, 2, 3)
    assert auditing.bounds(rows, Precision.SINGLE, PROFILE, PROFILE) == Errors(1, 2, 3)
    assert auditing.bounds(rows, Precision.HALF, replace(PROFILE, dtype="bfloat16"), PROFILE) is None


def test_a_precision_says_what_may_be_computed_in() -> None:
    coarse = replace(PROFILE, dtype="bfloat16")
    assert auditing.sold_as(Precision.EXACT, PROFILE)
    assert auditing.sold_as(Precision.HALF, coarse)
    assert not auditing.sold_as(Precision.EXACT, coarse)
    assert not auditing.sold_as(Precision.HALF, PROFILE)


def test_a_verdict_follows_from_every_check() -> None:
    limit = Errors(10, 20, 30)
    fine = auditing.judge(Errors(10, 20, 30), limit)
    assert [finding.check for finding in fine] == [Check.START, Check.STEP, Check.PICTURE]
    assert auditing.verdict(fine) is Verdict.PASSED
    for worse in (Errors(11, 0, 0), Errors(0, 21, 0), Errors(0, 0, 31)):
        assert auditing.verdict(auditing.judge(worse, limit)) is Verdict.FAILED
    lost = auditing.judge(Errors(2**64 - 1, 0, 0), limit)[0]
    assert (lost.holds, lost.measured_nano) == (False, auditing.INCOMPARABLE)
    assert auditing.verdict(()) is Verdict.UNANSWERED
