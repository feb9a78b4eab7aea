"""Who says nothing is lost, who shows nothing has stalled; who waits for its turn, or takes its time, is neither."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scenario import spec

from gpufair.client.session.vigil import Pace, Vigil
from gpufair.protocol import limits
from gpufair.protocol.messages import Beat, KeyReveal, Progress, Speed

JOB, OTHER = b"J" * 16, b"O" * 16
LOST, STALLED, LOADING = limits.LOST_MS, limits.STALLED_MIN_MS, limits.WORKER_SILENCE_MS


def step(number, job=JOB):
    return Progress(job, 0, number, 20, bytes(32))


@pytest.fixture
def vigil():
    watching = Vigil(1_000)
    watching.watch({JOB: Pace()}, 1_000)
    return watching


def beats(vigil, *, since, until, ahead=0):
    for now in range(since, until, limits.BEAT_MS):
        vigil.heard(Beat(JOB, ahead), now)


def test_silence_is_a_loss_and_any_word_breaks_it(vigil):
    assert not vigil.is_lost(1_000 + LOST - 1)
    assert vigil.is_lost(1_000 + LOST)
    vigil.heard(Beat(OTHER, 0), 9_000)
    assert not vigil.is_lost(9_000 + LOST - 1)
    assert vigil.is_lost(9_000 + LOST)


def test_who_has_nothing_to_do_may_say_nothing(vigil):
    vigil.watch({}, 2_000)
    assert not vigil.is_lost(10**9)
    assert vigil.next_look_ms(10**9) is None
    vigil.watch({OTHER: Pace()}, 10**9)
    assert not vigil.is_lost(10**9 + LOST - 1), "its silence counts from the order"
    assert vigil.is_lost(10**9 + LOST)


def test_a_job_may_wait_for_its_turn_for_ever(vigil):
    beats(vigil, since=1_000, until=1_000_000, ahead=3)
    assert vigil.stalled(1_000_000) == []
    vigil.heard(Beat(JOB, 0), 1_000_000)
    assert vigil.stalled(1_000_000 + LOADING - 1) == []
    assert vigil.stalled(1_000_000 + LOADING) == [JOB], "and once it has its turn, not"


def test_beats_are_no_progress(vigil):
    vigil.heard(step(0), 2_000)
    beats(vigil, since=2_000, until=2_000 + STALLED + 1)
    assert vigil.stalled(2_000 + STALLED - 1) == []
    assert vigil.stalled(2_000 + STALLED) == [JOB]
    assert not vigil.is_lost(2_000 + STALLED)


@pytest.mark.parametrize("message", [step(2), KeyReveal(JOB, 0, bytes(32), 1)])
def test_whatever_comes_of_a_job_is_progress(vigil, message):
    vigil.heard(step(0), 2_000)
    vigil.heard(message, 2_000 + STALLED - 1)
    assert vigil.stalled(2_000 + 2 * STALLED - 2) == []


def test_slow_steps_are_waited_for_as_long_as_those_before_took(vigil):
    vigil.heard(step(0), 2_000)
    vigil.heard(step(1), 12_000)
    assert vigil.stalled(12_000 + 8 * 10_000 - 1) == []
    assert vigil.stalled(12_000 + 8 * 10_000) == [JOB]


def test_who_says_that_it_is_slow_is_given_the_time(vigil):
    vigil.watch({JOB: Pace(), OTHER: Pace(step_ms=60_000, other_ms=30_000)}, 1_000)
    vigil.heard(step(0), 2_000)
    vigil.heard(step(0, OTHER), 2_000)
    assert vigil.stalled(2_000 + 8 * 90_000 - 1) == [JOB]
    assert vigil.stalled(2_000 + 8 * 90_000) == [JOB, OTHER]


def test_a_job_that_was_put_back_into_the_queue_loads_anew(vigil):
    vigil.heard(step(3), 2_000)
    vigil.heard(Beat(JOB, 2), 3_000)
    assert vigil.stalled(10**6) == []
    vigil.heard(Beat(JOB, 0), 10**6)
    assert vigil.stalled(10**6 + LOADING - 1) == []


def test_what_is_granted_is_the_new_end(vigil):
    vigil.heard(step(0), 2_000)
    vigil.grant(JOB, 90_000, 500)
    assert vigil.stalled(90_499) == []
    assert vigil.stalled(90_500) == [JOB]


def test_the_next_look_is_when_the_first_of_all_could_be_true(vigil):
    assert vigil.next_look_ms(2_000) == LOST - 1_000
    vigil.heard(step(0), 5_000)
    beats(vigil, since=5_000, until=5_000 + STALLED)
    last = 5_000 + STALLED - limits.BEAT_MS
    assert vigil.next_look_ms(last) == limits.BEAT_MS, "the stall comes before the loss"
    assert vigil.next_look_ms(10**7) == 0


def test_an_offers_speed_is_the_pace(deal):
    offer = deal().offer.doc
    assert Pace.of(spec(4, 1), offer) == Pace()
    speed = Speed(10**9, 10**9, 5_000_000)
    measured = replace(offer, models=(replace(offer.models[0], speed=speed),))
    assert Pace.of(spec(4, 1), measured) == Pace(64, 128 + 5_000)
    assert Pace.of(replace(spec(4, 1), model=bytes(32)), measured) == Pace()
