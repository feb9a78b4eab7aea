"""Rule: the machine's clock tells milliseconds since 1970, and its randomness is not the same twice."""

import time

from gpufair.protocol.edge.system import SystemClock, SystemRandom, monotonic_s


def test_the_clock():
    assert abs(SystemClock().now_ms() - time.time() * 1000) < 1000


def test_randomness():
    drawn = {SystemRandom().bytes(16) for _ in range(100)}
    assert len(drawn) == 100
    assert {len(one) for one in drawn} == {16}


def test_the_monotonic_clock_does_not_fall():
    assert monotonic_s() <= monotonic_s()
