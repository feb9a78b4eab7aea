"""The store: a digest names content, content never changes, and a crash leaves nothing half there."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import struct
from pathlib import Path

import pytest

from gpufair.protocol import limits
from gpufair.protocol.content import FileDigest, model_digest
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.provider.models.store import ModelStore


def test_what_is_added_is_there_whole_with_what_is_told_about_it(store: ModelStore, folder: Path) -> None:
    model = store.add(folder)
    assert (model.name, model.family, model.licence) == ("tiny", "StableDiffusionPipeline", "apache-2.0")
    assert "# Tiny" in model.card
    assert store.list() == [model] == [store.get(model.digest)]
    kept = sorted(p.relative_to(store.path(model.digest)).as_posix() for p in store.path(model.digest).rglob("*.*"))
    assert kept == ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    assert store.verify(model.digest)


def test_the_digest_is_what_the_protocol_says(store: ModelStore, folder: Path) -> None:
    wanted = hashlib.sha256(b"gpufair/model/v1\x00")
    for path in ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"):
        data = (folder / path).read_bytes()
        wanted.update(struct.pack(">I", len(path)) + path.encode() + struct.pack(">Q", len(data)))
        wanted.update(hashlib.sha256(data).digest())
    assert store.add(folder).digest == wanted.digest()


def test_the_digest_needs_a_file_and_no_path_twice() -> None:
    one = FileDigest("a", 0, b"x" * 32)
    for bad in ([], [one, one]):
        with pytest.raises(ValueError, match="file"):
            model_digest(bad)
    assert model_digest([one, FileDigest("b", 0, b"x" * 32)]) == model_digest([FileDigest("b", 0, b"x" * 32), one])


def test_a_card_changes_what_is_told_and_not_the_digest(store: ModelStore, folder: Path) -> None:
    first = store.add(folder)
    (folder / "README.md").write_text("no front matter \x1b[31m")
    second = store.add(folder, name="other\x1b[2J", licence="MIT")
    assert second.digest == first.digest
    assert len(store.list()) == 1
    assert store.get(first.digest).licence == "MIT"
    assert "\x1b" not in store.get(first.digest).name


def test_a_name_is_one_that_an_offer_can_carry(store: ModelStore, folder: Path) -> None:
    for name, kept in (("a\nb\t c", "a b c"), (" ", None), ("é" * 200, "é" * 60)):
        model = store.add(folder, name=name, licence=name)
        assert model.name.isprintable()
        assert 1 <= len(model.name.encode()) <= limits.NAME_MAX
        assert kept is None or model.name.startswith(kept)
    assert store.add(folder, name=" ").name == model.digest.hex()[:16]


def test_any_changed_byte_is_noticed(store: ModelStore, folder: Path) -> None:
    model = store.add(folder)
    for path in store.path(model.digest).rglob("*.*"):
        good = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        assert not store.verify(model.digest)
        path.write_bytes(good)
    assert store.verify(model.digest)
    for extra in ("extra.json", "extra.png", ".extra"):
        (store.path(model.digest) / extra).write_text("{}")
        assert not store.verify(model.digest)
        (store.path(model.digest) / extra).unlink()
    assert store.verify(model.digest)


def test_what_is_in_the_store_is_read_only_and_readable_by_a_container(store: ModelStore, folder: Path) -> None:
    root = store.path(store.add(folder).digest)
    for path in (root, *root.rglob("*")):
        assert path.stat().st_mode & 0o555 == (0o555 if path.is_dir() else 0o444)
        assert path == root or not path.stat().st_mode & 0o222


def test_a_removed_model_is_gone_and_can_come_again(store: ModelStore, folder: Path) -> None:
    digest = store.add(folder).digest
    store.remove(digest)
    assert store.list() == []
    for ask in (store.path, store.get, store.verify, store.remove):
        with pytest.raises(LocalError) as caught:
            ask(digest)
        assert caught.value.fault is Fault.UNKNOWN
    assert store.add(folder).digest == digest
    assert store.verify(digest)


@pytest.mark.parametrize("digest", [b"", b"x" * 31, b"x" * 32, b"../" * 11])
def test_a_digest_that_is_none_is_refused(store: ModelStore, digest: bytes) -> None:
    with pytest.raises(LocalError):
        store.path(digest)


def test_what_a_crash_left_is_swept_and_never_listed(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    left = tmp_path / "store" / "incoming" / "half"
    shutil.copytree(folder, left)
    assert store.list() == []
    store.add(folder)
    assert not left.exists()
    assert list((tmp_path / "store" / "incoming").iterdir()) == []


def test_a_lost_description_does_not_lose_the_model(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    digest = store.add(folder).digest
    about = tmp_path / "store" / "about" / f"{digest.hex()}.json"
    for broken in (b"", b"[]", b'{"name": 1}', b"\xff"):
        about.write_bytes(broken)
        assert [model.digest for model in store.list()] == [digest]


def test_a_refused_folder_leaves_nothing(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    (folder / "evil.py").write_text("boom")
    with pytest.raises(PeerError):
        store.add(folder)
    assert [p for p in (tmp_path / "store").rglob("*") if p.is_file()] == []


def test_a_full_or_unwritable_disk_is_our_own_fault(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError):
        ModelStore(tmp_path / "file" / "store").add(folder)


def _add(root: Path, folder: Path) -> None:
    ModelStore(root).add(folder)


def test_two_processes_may_add_the_same_model(folder: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    adders = [context.Process(target=_add, args=(tmp_path / "store", folder)) for _ in range(3)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(30)
    assert [adder.exitcode for adder in adders] == [0, 0, 0]
    [model] = ModelStore(tmp_path / "store").list()
    assert ModelStore(tmp_path / "store").verify(model.digest)


def test_the_demo_model_goes_in_with_its_licence_and_card(store: ModelStore, demo: Path) -> None:
    model = store.add(demo)
    assert model.licence == "apache-2.0"
    assert "Noto" in model.card
    assert 20_000_000 < model.size < 30_000_000
    assert (store.path(model.digest) / "tokenizer" / "merges.txt").exists()
