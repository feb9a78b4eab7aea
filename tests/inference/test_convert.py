"""Single-file checkpoints become folders that draw the same pictures; what is of another make is refused in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ldm import single_file
from safetensors.torch import load_file, save_file

from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.frames import Load, Loaded, LoadFailed
from gpufair.provider.models import single
from gpufair.provider.models.store import ModelStore

WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def checkpoint(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in one file."""
    return single_file(Path(demo.path), tmp_path_factory.mktemp("single") / "demo.safetensors")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "store")


@pytest.fixture
def other(demo: Any, tmp_path: Path) -> Path:
    """A model of the demo model's make, all of whose weights are others."""
    base = tmp_path / "other"
    shutil.copytree(demo.path, base)
    for file in base.glob("*/*.safetensors"):
        file.chmod(0o644)
        save_file({name: tensor * 0.5 for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    return base


def take(store: ModelStore, file: Path, base: Path) -> Any:
    single.check(file, base)
    return store.add_made(lambda target: single.convert(file, base, target), name="single")


def test_a_checkpoint_of_the_bases_own_numbers_is_the_base(store: ModelStore, demo: Any, checkpoint: Path) -> None:
    assert take(store, checkpoint, Path(demo.path)).digest == demo.digest


@pytest.mark.parametrize("open_clip", [False, True])
def test_its_picture_is_bitwise_that_of_the_folder(
    store: ModelStore, demo: Any, other: Path, shared: Any, pictures: Any, tmp_path: Path, *, open_clip: bool
) -> None:
    file = single_file(Path(demo.path), tmp_path / "one.safetensors", open_clip=open_clip)
    model = take(store, file, other)
    shared.send(Load(model.digest, str(store.path(model.digest))))
    assert isinstance(shared.until(Loaded, LoadFailed)[-1], Loaded)
    got = pictures(shared.run(demo.run(model=model.digest)))
    shared.send(Load(demo.digest, demo.path))
    shared.until(Loaded, LoadFailed)
    assert got.png == pictures(shared.run(demo.run())).png


def test_a_part_that_is_the_bases_shares_its_file(
    store: ModelStore, demo: Any, checkpoint: Path, tmp_path: Path
) -> None:
    base = store.add(Path(demo.path))
    whole = load_file(checkpoint)
    fine = {n: t + 0.01 if n.startswith("model.diffusion_model.") else t for n, t in whole.items()}
    save_file(fine, tmp_path / "tuned.safetensors")
    tuned = take(store, tmp_path / "tuned.safetensors", store.path(base.digest))
    assert tuned.digest != base.digest
    for part, same in (("vae/diffusion_pytorch_model", True), ("text_encoder/model", True), (WEIGHTS, False)):
        files = [(store.path(one.digest) / part).with_suffix(".safetensors").stat().st_ino for one in (base, tuned)]
        assert (files[0] == files[1]) is same, part


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("model.diffusion_model.out.2.weight"), "lacks 1 tensors of the unet"),
        (lambda t: t.update({"first_stage_model.decoder.mid.attn_1.q.weight": torch.ones(2, 2)}), "no place for"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("cond_stage_model.")], "tensors of the text_encoder"),
        (lambda t: t.update({"model.diffusion_model.out.2.bias": torch.ones(5)}), "conv_out.bias is (5,)"),
        (
            lambda t: t.update({"model.diffusion_model.out.2.bias": torch.ones(4, dtype=torch.int8)}),
            "conv_out.bias is (4,) torch.int8",
        ),
    ],
)
def test_a_checkpoint_of_another_make_is_refused_with_the_tensors_name(
    store: ModelStore, demo: Any, checkpoint: Path, tmp_path: Path, change: Any, says: str
) -> None:
    whole = load_file(checkpoint)
    change(whole)
    save_file(whole, tmp_path / "bad.safetensors")
    with pytest.raises(PeerError, match=r"bad\.safetensors") as caught:
        take(store, tmp_path / "bad.safetensors", Path(demo.path))
    assert says in caught.value.what
    assert caught.value.fault is Fault.WRONG_TYPE
    assert store.everything() == []


def test_what_is_no_checkpoint_is_refused_before_anything_is_started(demo: Any, tmp_path: Path) -> None:
    (tmp_path / "m.ckpt").write_bytes(b"PK")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 64)
    (tmp_path / "link.safetensors").symlink_to(Path(demo.path) / WEIGHTS)
    for bad in (tmp_path / "m.ckpt", tmp_path / "broken.safetensors", tmp_path / "link.safetensors"):
        with pytest.raises(PeerError):
            single.check(bad, Path(demo.path))
    with pytest.raises(PeerError, match="no Stable Diffusion checkpoint"):
        single.check(Path(demo.path) / WEIGHTS, Path(demo.path))


def test_a_base_that_is_none_is_told_in_words(store: ModelStore, checkpoint: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(PeerError, match=r"config\.json is missing"):
        take(store, checkpoint, base)
    (base / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(PeerError, match="can only be like a Stable Diffusion"):
        take(store, checkpoint, base)


def test_without_the_libraries_it_says_what_to_install(
    checkpoint: Path, demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "NEEDED", (*single.NEEDED, "no_such_library_here"))
    with pytest.raises(LocalError, match="no_such_library_here") as caught:
        single.convert(checkpoint, Path(demo.path), tmp_path)
    assert "gpufair[inference]" in caught.value.hint
