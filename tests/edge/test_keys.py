"""Rule: keys are private, whole and never overwritten; each way of losing them has an error that says what to do."""

import os
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gpufair.protocol import identity, sealing
from gpufair.protocol.edge import files, keys
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import JobBody

SECRET = "correct horse"


def same(one, other):
    assert one.did == other.did
    assert one.sealing_public == other.sealing_public
    assert one.tls.certificate == other.tls.certificate
    assert one.tls.key_pem == other.tls.key_pem


@pytest.mark.parametrize("passphrase", [None, "pässphrase with spaces"])
def test_made_and_loaded(tmp_path, passphrase):
    folder = tmp_path / "deep" / "identity"
    assert not keys.exists(folder)
    made = keys.create(folder, passphrase=passphrase)
    assert keys.exists(folder)
    loaded = keys.load(folder, passphrase=passphrase)
    same(made, loaded)
    identity.verify(made.did, b"x", loaded.signer.sign(b"x"))
    body = JobBody(bytes(16), "a cat", "", 1, 0)
    sealed = sealing.seal_body(body, made.sealing_public, lease=bytes(32), job=bytes(16))
    assert sealing.open_body(sealed, loaded.sealing, lease=bytes(32), job=bytes(16)) == body


def test_two_identities_differ(tmp_path):
    one, other = keys.create(tmp_path / "a"), keys.create(tmp_path / "b")
    assert one.did != other.did
    assert one.sealing_public != other.sealing_public
    assert one.tls.certificate_sha256 != other.tls.certificate_sha256


def test_modes_and_formats(tmp_path):
    old = os.umask(0)  # the owner's umask must not matter
    try:
        made = keys.create(tmp_path / "id")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "id").stat().st_mode) == 0o700
    for path in (tmp_path / "id").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = load_pem_private_key((tmp_path / "id" / "identity.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    assert identity.did_of(key.public_key()) == made.did
    assert [path.name for path in tmp_path.iterdir()] == ["id"]


def test_keys_do_not_show_in_a_repr(tmp_path):
    made = keys.create(tmp_path / "id")
    assert "PRIVATE" not in repr(made)


def test_nothing_is_overwritten(tmp_path):
    made = keys.create(tmp_path / "id")
    with pytest.raises(LocalError) as caught:
        keys.create(tmp_path / "id")
    assert caught.value.fault is Fault.CONFLICT
    same(made, keys.load(tmp_path / "id"))
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(LocalError):
        keys.create(tmp_path / "used")
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["holiday.jpg"]
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(LocalError):
        keys.create(tmp_path / "file")


def test_none_there(tmp_path):
    with pytest.raises(LocalError, match="no identity") as caught:
        keys.load(tmp_path / "id")
    assert caught.value.fault is Fault.UNKNOWN
    assert "init" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "mode"), [("identity.pem", 0o640), ("sealing.pem", 0o604), ("tls-key.pem", 0o620), (".", 0o750)]
)
def test_loose_permissions_are_refused_with_the_command(tmp_path, name, mode):
    keys.create(tmp_path / "id")
    path = tmp_path / "id" / name
    path.chmod(mode)
    with pytest.raises(LocalError) as caught:
        keys.load(tmp_path / "id")
    assert caught.value.fault is Fault.NOT_ALLOWED
    assert caught.value.hint.startswith("run: chmod ")
    subprocess.run(caught.value.hint.removeprefix("run: "), shell=True, check=True)
    keys.load(tmp_path / "id")


def test_a_link_is_not_followed(tmp_path):
    keys.create(tmp_path / "id")
    target = (tmp_path / "id" / "identity.pem").rename(tmp_path / "elsewhere.pem")
    (tmp_path / "id" / "identity.pem").symlink_to(target)
    with pytest.raises(LocalError) as caught:
        keys.load(tmp_path / "id")
    assert caught.value.fault is Fault.NOT_ALLOWED


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_something_that_is_not_a_file_does_not_hang(tmp_path, kind):
    keys.create(tmp_path / "id")
    path = tmp_path / "id" / "identity.pem"
    path.unlink()
    os.mkfifo(path, 0o600) if kind == "fifo" else path.mkdir(0o700)
    with pytest.raises(LocalError):
        keys.load(tmp_path / "id")


def test_passphrases(tmp_path):
    keys.create(tmp_path / "locked", passphrase="one")
    keys.create(tmp_path / "open")
    for folder, passphrase, words in (("locked", None, "under a passphrase"), ("locked", "two", "does not open")):
        with pytest.raises(LocalError, match=words) as caught:
            keys.load(tmp_path / folder, passphrase=passphrase)
        assert caught.value.fault is Fault.NOT_ALLOWED
    with pytest.raises(LocalError, match="under no passphrase"):
        keys.load(tmp_path / "open", passphrase="one")
    for bad in ("", "x" * 1001):
        with pytest.raises(LocalError, match="1 to 1000"):
            keys.create(tmp_path / "other", passphrase=bad)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["identity.pem", "sealing.pem", "tls-key.pem", "tls-cert.pem"])
@pytest.mark.parametrize(
    "damage", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\0" * 100, b"x" * 9000]
)
def test_damage_is_named(tmp_path, name, damage):
    keys.create(tmp_path / "id")
    files.write_private(tmp_path / "id" / name, damage)
    with pytest.raises(LocalError) as caught:
        keys.load(tmp_path / "id")
    assert caught.value.fault in (Fault.MALFORMED, Fault.TOO_LARGE)


def test_keys_of_two_identities_mixed_up(tmp_path):
    keys.create(tmp_path / "a")
    keys.create(tmp_path / "b")
    for name, other in (
        ("tls-cert.pem", "tls-cert.pem"),
        ("identity.pem", "sealing.pem"),
        ("sealing.pem", "tls-key.pem"),
    ):
        before = (tmp_path / "a" / name).read_bytes()
        files.write_private(tmp_path / "a" / name, (tmp_path / "b" / other).read_bytes())
        with pytest.raises(LocalError, match="damaged"):
            keys.load(tmp_path / "a")
        files.write_private(tmp_path / "a" / name, before)
    keys.load(tmp_path / "a")


def test_backup_and_restore(tmp_path):
    made = keys.create(tmp_path / "id", passphrase="one")
    assert keys.backup(tmp_path / "id", tmp_path / "my.backup", secret=SECRET, passphrase="one") == made.did
    data = (tmp_path / "my.backup").read_bytes()
    assert b"PRIVATE" not in data
    (tmp_path / "my.backup").chmod(0o644)  # a stick, a cloud: it is sealed
    restored = keys.restore(tmp_path / "my.backup", tmp_path / "new", secret=SECRET, passphrase="two")
    same(made, restored)
    same(made, keys.load(tmp_path / "new", passphrase="two"))


def test_backup_and_restore_overwrite_nothing(tmp_path):
    made = keys.create(tmp_path / "id")
    keys.backup(tmp_path / "id", tmp_path / "b", secret=SECRET)
    before = (tmp_path / "b").read_bytes()
    with pytest.raises(LocalError) as caught:
        keys.backup(tmp_path / "id", tmp_path / "b", secret=SECRET)
    assert caught.value.fault is Fault.CONFLICT
    assert (tmp_path / "b").read_bytes() == before
    keys.create(tmp_path / "other")
    with pytest.raises(LocalError) as caught:
        keys.restore(tmp_path / "b", tmp_path / "other", secret=SECRET)
    assert caught.value.fault is Fault.CONFLICT
    assert keys.load(tmp_path / "other").did != made.did


def test_a_backup_that_does_not_open(tmp_path):
    keys.create(tmp_path / "id")
    with pytest.raises(LocalError, match="at least 8"):
        keys.backup(tmp_path / "id", tmp_path / "b", secret="short")
    keys.backup(tmp_path / "id", tmp_path / "b", secret=SECRET)
    data = (tmp_path / "b").read_bytes()
    with pytest.raises(LocalError) as caught:
        keys.restore(tmp_path / "b", tmp_path / "new", secret="wrong horse")
    assert caught.value.fault is Fault.NOT_ALLOWED
    bad = {"cut": data[:-1], "flip": data[:-1] + bytes([data[-1] ^ 1]), "salt": data[:30] + b"\0" + data[31:]}
    for name, changed in bad.items():
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(LocalError, match="was changed"):
            keys.restore(tmp_path / name, tmp_path / "new", secret=SECRET)
    for name, other in {"empty": b"", "pem": b"-----BEGIN", "head": data[:40], "huge": data + bytes(2**16)}.items():
        (tmp_path / name).write_bytes(other)
        with pytest.raises(LocalError, match="not a backup"):
            keys.restore(tmp_path / name, tmp_path / "new", secret=SECRET)
    with pytest.raises(LocalError, match="cannot be read"):
        keys.restore(tmp_path / "nowhere", tmp_path / "new", secret=SECRET)
    assert not (tmp_path / "new").exists()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path):
    """The process dies inside the write: the old content stands, whole."""
    path = tmp_path / "secret"
    files.write_private(path, b"old")
    program = (
        "import os, pathlib, sys; from gpufair.protocol.edge import files\n"
        "os.fsync = lambda _: os._exit(9)\n"
        f"files.write_private(pathlib.Path({str(path)!r}), b'new')"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert files.read_private(path, limit=100) == b"old"
