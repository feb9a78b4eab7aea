"""A sealing key lives as long as a lease needs it, then not at all; no crash on the way loses one, or keeps one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gpufair.protocol import limits
from gpufair.protocol.edge import files, keys
from gpufair.protocol.edge.sealing_keys import SealingKeys

DAY, MINUTE = limits.SEALING_KEY_MS, limits.MINUTE
SECRET = "correct horse"
STEPS = ("fsync", "replace", "unlink", "utime", "mkdir")


def made_ms(folder: Path) -> int:
    return (folder / "sealing.pem").stat().st_mtime_ns // 1_000_000


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if "sealing" in path.name}


@pytest.mark.parametrize("passphrase", [None, "pässphrase"])
def test_a_key_a_day_and_none_longer_than_its_leases(tmp_path: Path, passphrase: str | None) -> None:
    folder = tmp_path / "keys"
    first = keys.create(folder, passphrase=passphrase).sealing_public
    now, ring = made_ms(folder), SealingKeys(folder, passphrase=passphrase)
    ring.turn(now + DAY - 1, {first})
    assert ring.public == first, "its day is not over"
    ring.turn(now + DAY, {first})
    second = ring.public
    assert second != first
    assert names(folder) == {"sealing.pem", "sealing-1.pem"}
    for again in (ring, SealingKeys(folder, passphrase=passphrase)):  # after a restart, too
        assert (again.public, again.oldest) == (second, first)
        key = again.find(first)
        assert key is not None
        assert key.public_key().public_bytes_raw() == first
        again.turn(now + DAY + 2 * MINUTE, {first})
        assert again.find(first) is not None, "a lease names it"
    ring = SealingKeys(folder, passphrase=passphrase)
    ring.turn(now + DAY + MINUTE, set())
    assert ring.find(first) is not None, "an offer that shows it may still be taken up"
    ring.turn(now + DAY + MINUTE + 1, set())
    assert ring.find(first) is None
    assert names(folder) == {"sealing-1.pem"}
    assert SealingKeys(folder, passphrase=passphrase).public == keys.load(folder, passphrase=passphrase).sealing_public
    protected = b"ENCRYPTED" in (folder / "sealing-1.pem").read_bytes()
    assert protected is (passphrase is not None)
    assert load_pem_private_key(
        (folder / "sealing-1.pem").read_bytes(), passphrase.encode() if passphrase else None
    ).public_key().public_bytes_raw() == second  # fmt: skip


def test_a_clock_that_was_wrong_stops_no_change(tmp_path: Path) -> None:
    keys.create(tmp_path / "keys")
    now, ring = made_ms(tmp_path / "keys"), SealingKeys(tmp_path / "keys")
    ring.turn(now + 1000 * DAY, set())
    ahead = ring.public
    ring.turn(now, set())
    assert ring.public != ahead, "one from the future is not shown for a thousand days"
    fine = ring.public
    for minutes in (0, 2, 60):
        ring.turn(now + minutes * MINUTE, set())
        assert ring.public == fine
    assert names(tmp_path / "keys") == {"sealing-2.pem"}


def test_an_erased_key_is_overwritten(tmp_path: Path) -> None:
    keys.create(tmp_path / "keys")
    os.link(tmp_path / "keys" / "sealing.pem", tmp_path / "undelete")  # what an undelete tool would find
    size = (tmp_path / "undelete").stat().st_size
    files.erase(tmp_path / "keys" / "sealing.pem")
    assert (tmp_path / "undelete").read_bytes() == bytes(size)


def turn(folder: Path, now_ms: int, in_use: set[bytes]) -> None:
    SealingKeys(folder).turn(now_ms, in_use)


def dies_at(step: int, act: Callable[[], None]) -> bool:
    """Do it in a process that dies before its n-th step on disk; whether it got through."""
    child = os.fork()
    if not child:
        left = [step]

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **named: object) -> object:
                if not left[0]:
                    os._exit(9)
                left[0] -= 1
                return real(*args, **named)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_death_between_any_two_steps_loses_no_key_and_leaves_none(tmp_path: Path) -> None:
    """A change, and the erasing after it, each dying before every one of its steps: what is read next is whole."""
    for step in range(40):
        folder = tmp_path / str(step)
        first = keys.create(folder).sealing_public
        now = made_ms(folder)
        through = dies_at(step, partial(turn, folder, now + DAY, {first}))
        ring = SealingKeys(folder)
        assert ring.find(first) is not None, "the lease's key"
        assert not [path for path in folder.iterdir() if path.name.startswith(".")], "nothing half made stays"
        ring.turn(now + DAY, {first})
        second = ring.public
        assert second != first
        later = now + DAY + 2 * MINUTE
        os.utime(folder / "sealing-1.pem", (0, (now + DAY) / 1000))
        erased = dies_at(step, partial(turn, folder, later, {second}))
        ring = SealingKeys(folder)
        assert ring.public == second
        ring.turn(later, {second})
        assert names(folder) == {"sealing-1.pem"}, step
        if through and erased:
            return
    pytest.fail("it takes more steps than that")


def test_a_backup_carries_every_key(tmp_path: Path) -> None:
    first = keys.create(tmp_path / "keys").sealing_public
    ring = SealingKeys(tmp_path / "keys")
    ring.turn(made_ms(tmp_path / "keys") + DAY, {first})
    keys.backup(tmp_path / "keys", tmp_path / "copy", secret=SECRET)
    restored = keys.restore(tmp_path / "copy", tmp_path / "new", secret=SECRET, passphrase="two")
    assert restored.sealing_public == ring.public
    again = SealingKeys(tmp_path / "new", passphrase="two")
    assert again.public == ring.public
    assert again.find(first) is not None


def test_keys_are_read_while_a_running_node_erases_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = tmp_path / "keys", files.read_private
    keys.create(folder)
    ring = SealingKeys(folder)
    ring.turn(made_ms(folder) + DAY, set())

    def read(path: Path, *, limit: int) -> bytes:
        if path.name == "sealing.pem" and path.exists():
            files.erase(path)  # between the listing and the reading
        return real(path, limit=limit)

    monkeypatch.setattr(files, "read_private", read)
    assert keys.load(folder).sealing_public == ring.public
