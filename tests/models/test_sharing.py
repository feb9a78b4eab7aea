"""Files that models share lie on disk once; whatever happens, each model's bytes are its own to answer for."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpufair.protocol import limits
from gpufair.provider.models.store import ModelStore

Make = Callable[..., bytes]
BIG = limits.SHARED_FILE_MIN
WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def pair(folder: Path, tmp_path: Path, tensors: Make) -> tuple[Path, Path]:
    """Two models with one text encoder and two unets, all of a size to be shared."""
    other = tmp_path / "other"
    (folder / "text_encoder").mkdir()
    (folder / "text_encoder" / "model.safetensors").write_bytes(_weights(tensors, 1))
    shutil.copytree(folder, other)
    for root, fill in ((folder, 2), (other, 3)):
        (root / WEIGHTS).write_bytes(_weights(tensors, fill))
    return folder, other


def _weights(tensors: Make, fill: int) -> bytes:
    return tensors({"w": {"dtype": "U8", "shape": [BIG], "data_offsets": [0, BIG]}}, bytes([fill]) * BIG)


def inodes(store: ModelStore, path: str) -> list[int]:
    """The files at this path of every model."""
    return [(store.path(model.digest) / path).stat().st_ino for model in store.list()]


def blobs(root: Path) -> list[str]:
    """The names of all blobs."""
    return sorted(path.name for path in (root / "blobs").iterdir())


def test_equal_files_are_one_and_unequal_ones_are_not(
    store: ModelStore, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    models = [store.add(folder) for folder in pair]
    first, second = inodes(store, "text_encoder/model.safetensors")
    assert first == second
    first, second = inodes(store, WEIGHTS.as_posix())
    assert first != second
    first, second = inodes(store, "unet/config.json")
    assert first != second, "small files are not worth a link"
    assert all(store.verify(model.digest) for model in models)
    assert len(blobs(tmp_path / "store")) == 3
    shared = (store.path(models[0].digest) / "text_encoder" / "model.safetensors").stat().st_size
    used = store.usage()
    assert used.content_bytes == sum(model.size for model in models)
    assert used.disk_bytes == used.content_bytes - shared
    assert used.shared == {model.digest: shared for model in models}


def test_what_is_shared_goes_with_the_last_that_has_it(
    store: ModelStore, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = (store.add(folder).digest for folder in pair)
    store.remove(first)
    assert store.verify(second)
    assert len(blobs(tmp_path / "store")) == 2
    assert store.usage().shared == {}
    store.remove(second)
    assert blobs(tmp_path / "store") == []
    assert store.usage().disk_bytes == 0


def test_a_damaged_file_is_never_linked_to(store: ModelStore, pair: tuple[Path, Path]) -> None:
    old = store.add(pair[0]).digest
    file = store.path(old) / "text_encoder" / "model.safetensors"
    file.chmod(0o644)
    file.write_bytes(b"x" * file.stat().st_size)
    new = store.add(pair[1]).digest
    assert not store.verify(old)
    assert store.verify(new)
    assert store.add(pair[0]).digest == old
    assert store.verify(old), "adding it again mends it"
    assert len(set(inodes(store, "text_encoder/model.safetensors"))) == 1


def test_a_model_of_before_there_were_blobs_shares_too(
    store: ModelStore, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    store.add(pair[0])
    shutil.rmtree(tmp_path / "store" / "blobs")
    store.add(pair[1])
    assert len(set(inodes(store, "text_encoder/model.safetensors"))) == 1


def test_without_hard_links_each_model_has_its_own(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = ModelStore(tmp_path / "store")
    digests = [store.add(folder).digest for folder in pair]
    assert all(store.verify(digest) for digest in digests)
    assert store.usage().shared == {}
    assert blobs(tmp_path / "store") == []


EVENTS = ("os.", "shutil.", "open", "tempfile.")


def _die_at(moment: int, act: Callable[[], object]) -> bool:
    """Do this in a process that dies at its `moment`-th change of the disk; whether it came to its end before."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    left = moment

    def hook(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event.startswith(EVENTS):
            left -= 1
            if left < 0:
                os._exit(9)

    sys.addaudithook(hook)
    act()
    os._exit(0)


EVERY = [3, pytest.param(1, marks=pytest.mark.long)]
"""One moment in three is many already: a fork of a process that has loaded torch is dear."""


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("what", ["add", "remove"])
def test_a_crash_at_any_moment_leaves_nothing_wrong(
    pair: tuple[Path, Path], tmp_path: Path, what: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # a process dies here, not the machine
    moment, done = 0, False
    while not done:
        done = _crash(tmp_path / f"store{moment}", *pair, removing=what == "remove", moment=moment)
        moment += every
    assert moment > 10


def _crash(root: Path, first: Path, second: Path, *, removing: bool, moment: int) -> bool:
    """Die while the second model is added or removed, look at what is left, and go on with it."""
    store = ModelStore(root)
    kept = store.add(first).digest
    other = store.add(second).digest if removing else b""
    done = _die_at(moment, lambda: ModelStore(root).remove(other) if removing else ModelStore(root).add(second))
    store = ModelStore(root)
    assert kept in {model.digest for model in store.list()}
    assert all(store.verify(model.digest) for model in store.list()), moment
    store.add(first)
    assert all(path.stat().st_nlink > 1 for path in (root / "blobs").iterdir()), "the next writer sweeps"
    again = store.add(second).digest
    assert store.verify(again)
    store.remove(again)
    assert [path.name for path in (root / "content").iterdir()] == [kept.hex()]
    assert [path.stem for path in (root / "about").iterdir()] == [kept.hex()]
    assert list((root / "incoming").iterdir()) == []
    assert len(blobs(root)) == 2
    return done
