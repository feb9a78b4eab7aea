"""Traces on disk: whole or not there, bounded, swept after a crash, and never other than the worker told them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpufair.protocol import trace
from gpufair.protocol.errors import LocalError
from gpufair.protocol.frames import RuntimeProfile, State
from gpufair.provider.jobs.traces import Traces
from gpufair.provider.workers.outcome import PictureResult

ATTEMPT = b"a" * 16
PROFILE = RuntimeProfile(
    "3.11", "2.0", "0.30", "4.50", "abc", "cpu", "a cpu", "float32", ("deterministic", "threads=1")
)


def key(number: int, picture: int = 0) -> tuple[bytes, bytes, int]:
    return b"L" * 32, number.to_bytes(16, "big"), picture


def states(count: int = 4, size: int = 400, salt: int = 0) -> list[bytes]:
    return [bytes([salt + step]) * (size + 4 * step) for step in range(count)]


def result(data: list[bytes], picture: int = 0) -> PictureResult:
    leaves = tuple(trace.leaf(step, state) for step, state in enumerate(data))
    return PictureResult(picture, b"png", b"", trace.root(leaves), len(leaves), leaves, PROFILE.digest(), PROFILE)


def pieces(step: int, data: bytes, size: int = 100) -> list[State]:
    return [State(ATTEMPT, 0, step, at, len(data), data[at : at + size]) for at in range(0, len(data), size)]


def keep(traces: Traces, number: int, data: list[bytes] | None = None, until_ms: int = 1_000) -> None:
    data = data or states()
    with traces.begin(ATTEMPT, 0) as writing:
        for step, state in enumerate(data):
            for piece in pieces(step, state):
                writing.write(piece)
        writing.keep(key(number), result(data).leaves, PROFILE, until_ms)


def test_what_was_told_can_be_read_again_after_a_restart(tmp_path: Path) -> None:
    keep(Traces(tmp_path), 1)
    kept = Traces(tmp_path).open(*key(1))
    assert kept is not None
    assert [kept.state(step) for step in range(4)] == states()
    assert kept.leaves == result(states()).leaves
    assert kept.profile == PROFILE
    assert Traces(tmp_path).open(*key(2)) is None


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    keep(Traces(tmp_path / "traces"), 1)
    assert (tmp_path / "traces").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "traces").iterdir())


def test_a_state_that_was_cut_off_is_written_anew(tmp_path: Path) -> None:
    traces, data = Traces(tmp_path), states()
    with traces.begin(ATTEMPT, 0) as writing:
        for step in (0, 1):
            for piece in pieces(step, data[step]):
                writing.write(piece)
        writing.write(pieces(2, b"\xff" * 800)[0])  # then its worker was lost
        for step in (1, 2, 3):  # and another did the last step again
            for piece in pieces(step, data[step]):
                writing.write(piece)
        writing.keep(key(1), result(data).leaves, PROFILE, 1_000)
    kept = traces.open(*key(1))
    assert kept is not None
    assert [kept.state(step) for step in range(4)] == data


def test_what_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    traces = Traces(tmp_path)
    with traces.begin(ATTEMPT, 0) as writing:
        writing.write(pieces(0, bytes(400))[0])
        assert traces.size == 104, "its length goes before it"
    assert list(tmp_path.iterdir()) == []
    assert traces.size == 0
    keep(traces, 1)
    traces.drop(key(1))
    traces.drop(key(1))
    assert (list(tmp_path.iterdir()), traces.size, traces.open(*key(1))) == ([], 0, None)


def test_the_oldest_make_room_and_the_bound_holds_all_the_time(tmp_path: Path) -> None:
    one = tmp_path / "one"
    keep(Traces(one), 1)
    size = Traces(one).size
    traces = Traces(tmp_path / "many", bytes_max=3 * size + size // 2)
    for number in range(10):
        keep(traces, number, until_ms=1_000 + number)
        on_disk = sum(path.stat().st_size for path in (tmp_path / "many").iterdir())
        assert on_disk == traces.size <= 3 * size + size // 2
    assert [n for n in range(10) if traces.open(*key(n))] == [7, 8, 9]
    again = Traces(tmp_path / "many", bytes_max=size + size // 2)
    assert [n for n in range(10) if again.open(*key(n))] == [9], "a smaller bound holds from the next start on"


def test_one_that_is_larger_than_all_room_costs_no_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    traces = Traces(tmp_path, bytes_max=1_000)
    keep(traces, 1, states(size=2_000))
    assert (traces.open(*key(1)), traces.size, list(tmp_path.iterdir())) == (None, 0, [])
    assert caplog.text.count("is not kept") == 1
    keep(Traces(tmp_path / "none", bytes_max=0), 1)
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to be had here")
def test_a_full_disk_costs_no_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    traces = Traces(tmp_path)
    (tmp_path / f"{ATTEMPT.hex()}-0.part").symlink_to("/dev/full")
    keep(traces, 1, states(size=100_000))
    assert (traces.open(*key(1)), traces.size) == (None, 0)
    assert "No space left" in caplog.text


def test_a_crash_and_time_leave_nothing_behind(tmp_path: Path) -> None:
    traces = Traces(tmp_path)
    for number in range(3):
        keep(traces, number, until_ms=1_000 + number)
    (tmp_path / f"{ATTEMPT.hex()}-1.part").write_bytes(b"half of it")
    again = Traces(tmp_path)
    again.sweep([ATTEMPT])
    assert list(tmp_path.glob("*.part")), "its attempt goes on"
    again.sweep([])
    assert not list(tmp_path.glob("*.part"))
    again.forget(1_001)
    assert [n for n in range(3) if again.open(*key(n))] == [1, 2]
    assert again.size == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_damage_is_noticed(tmp_path: Path) -> None:
    traces = Traces(tmp_path)
    keep(traces, 1)
    (path,) = tmp_path.iterdir()
    kept = traces.open(*key(1))
    assert kept is not None
    with path.open("r+b") as file:
        file.seek(10)
        file.write(b"\xff")
    with pytest.raises(LocalError, match=r"state 0 .* is damaged"):
        kept.state(0)
    assert kept.state(1) == states()[1]
    os.truncate(path, path.stat().st_size - 3)
    assert traces.open(*key(1)) is None
    path.write_bytes(b"")
    assert traces.open(*key(1)) is None
    path.unlink()
    assert traces.open(*key(1)) is None
    with pytest.raises(LocalError, match="can't be read"):
        kept.state(1)


def test_a_trace_without_all_its_states_is_none(tmp_path: Path) -> None:
    traces, data = Traces(tmp_path), states()
    with traces.begin(ATTEMPT, 0) as writing:
        for piece in pieces(0, data[0]):
            writing.write(piece)
        writing.keep(key(1), result(data).leaves, PROFILE, 1_000)
    assert traces.open(*key(1)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 1, 150])
def test_what_a_killed_node_has_told_is_there_and_goes_on(tmp_path: Path, cut: int) -> None:
    traces, data = Traces(tmp_path / "one"), states(5)
    with traces.begin(ATTEMPT, 0, first=3) as writing:
        for place, state in enumerate(data[:3]):
            for piece in pieces(3 + place, state):
                writing.write(piece)
        (part,) = (tmp_path / "one").iterdir()
        left = part.read_bytes()
    root = tmp_path / "two"
    root.mkdir()
    (root / part.name).write_bytes(left[: len(left) - cut])
    again, whole = Traces(root), 2 if cut else 3
    with again.begin(ATTEMPT, 0, first=3) as writing:
        found = writing.take_up(9)
        leaves = tuple(trace.leaf(3 + place, state) for place, state in enumerate(data))
        assert found is not None
        assert (found.step, found.state, found.leaves) == (2 + whole, data[whole - 1], leaves[:whole])
        for place, state in enumerate(data[whole:], whole):
            for piece in pieces(3 + place, state):
                writing.write(piece)
        writing.keep(key(1), leaves, PROFILE, 1_000)
    kept = Traces(root).open(*key(1))
    assert kept is not None
    assert [kept.state(place) for place in range(5)] == data
    assert again.size == sum(path.stat().st_size for path in root.iterdir())


def test_no_more_of_it_is_taken_up_than_is_wanted_and_nothing_of_noise(tmp_path: Path) -> None:
    part = tmp_path / f"{ATTEMPT.hex()}-0.part"
    part.write_bytes(b"".join(len(state).to_bytes(4, "big") + state for state in states()))
    traces = Traces(tmp_path)
    with traces.begin(ATTEMPT, 0) as writing:
        found = writing.take_up(1)
        assert found is not None
        assert (found.step, found.state) == (1, states()[1])
        assert part.stat().st_size == traces.size
    assert (traces.size, list(tmp_path.iterdir())) == (0, [])
    part.write_bytes(b"\xff" * 1_000)
    with Traces(tmp_path).begin(ATTEMPT, 0) as writing:
        assert writing.take_up(9) is None
    with Traces(tmp_path).begin(ATTEMPT, 1) as writing:
        assert writing.take_up(9) is None
    assert list(tmp_path.iterdir()) == []


def test_the_profile_that_it_was_made_on_is_there_too(tmp_path: Path) -> None:
    one, two = bytes([1] * 32), bytes([2] * 32)
    traces, data = Traces(tmp_path), states(3)
    with traces.begin(ATTEMPT, 0) as writing:
        for place, (profile, state) in enumerate(zip((one, one, two), data, strict=True)):
            writing.ran_on(profile)
            for piece in pieces(place, state):
                writing.write(piece)
        (part,) = tmp_path.iterdir()
        left = part.read_bytes()
    for last, profile in ((1, one), (2, two)):
        part.write_bytes(left)
        with Traces(tmp_path).begin(ATTEMPT, 0) as writing:
            found = writing.take_up(last)
            assert found is not None
            assert (found.step, found.state, found.profile) == (last, data[last], profile)
