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
from gpufair.provider.inference.convert import convert
from gpufair.provider.inference.engine import RefusedError
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


def take(store: ModelStore, file: Path, base: Path, by: Any = convert) -> Any:
    """Into the store; `by` the converter itself, or the node's way to it, which is a process of its own."""
    single.check(file, base)
    return store.add_made(lambda target: by(file, base, target), name="single")


def test_a_checkpoint_of_the_bases_own_numbers_is_the_base(store: ModelStore, demo: Any, checkpoint: Path) -> None:
    assert take(store, checkpoint, Path(demo.path), by=single.convert).digest == demo.digest


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
    demo: Any, checkpoint: Path, tmp_path: Path, change: Any, says: str
) -> None:
    whole = load_file(checkpoint)
    change(whole)
    save_file(whole, tmp_path / "bad.safetensors")
    (tmp_path / "made").mkdir()
    with pytest.raises(RefusedError) as caught:
        convert(tmp_path / "bad.safetensors", Path(demo.path), tmp_path / "made")
    assert says in caught.value.message


def test_a_refusal_leaves_nothing_in_the_store(store: ModelStore, demo: Any, checkpoint: Path, tmp_path: Path) -> None:
    whole = load_file(checkpoint)
    del whole["model.diffusion_model.out.2.weight"]
    save_file(whole, tmp_path / "bad.safetensors")
    with pytest.raises(PeerError, match=r"bad\.safetensors: .*lacks 1 tensors of the unet") as caught:
        take(store, tmp_path / "bad.safetensors", Path(demo.path), by=single.convert)
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
    with pytest.raises(RefusedError, match=r"config\.json is missing"):
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


def tiny(folder: Path, demo: Path, *, second: bool) -> Path:
    """Random weights in the layout of Stable Diffusion 1.5, or of 2.1."""
    import diffusers
    import transformers

    torch.manual_seed(7)
    linear = {"use_linear_projection": True, "attention_head_dim": [2, 4, 4, 4]} if second else {}
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16, 16, 16), norm_num_groups=4, cross_attention_dim=16, **linear
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16, 16, 16), norm_num_groups=4, layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=40, hidden_size=16, intermediate_size=32, num_attention_heads=2, max_position_embeddings=8,
            num_hidden_layers=23 if second else 2, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    shutil.copytree(demo, folder, ignore=shutil.ignore_patterns("unet", "vae", "text_encoder"))
    for name, part in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        part.save_pretrained(folder / name)
    return folder


def save_as_of_old(folder: Path) -> None:
    """Give the autoencoder's attention the names of older releases."""
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({_old(name): tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})


def _old(name: str) -> str:
    for today, then in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        name = name.replace(f"attentions.0.{today}.", f"attentions.0.{then}.")
    return name


@pytest.mark.parametrize("second", [False, True])
def test_the_layouts_of_1_5_and_2_1_come_back_as_they_were(
    store: ModelStore, demo: Any, tmp_path: Path, *, second: bool
) -> None:
    base = tiny(tmp_path / "base", Path(demo.path), second=second)
    file = single_file(base, tmp_path / "sd.safetensors", open_clip=second)
    save_as_of_old(base)
    whole = load_file(file)
    extra = {
        "model_ema.decay": torch.ones(1),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(8)[None],
        "first_stage_model.decoder.mid.attn_1.q.weight": whole["first_stage_model.decoder.mid.attn_1.q.weight"][
            :, :, None, None
        ],
    }
    if second:  # the last layer, whose output 2.x never uses
        layer = "cond_stage_model.model.transformer.resblocks."
        last = {n: t for n, t in whole.items() if n.startswith(f"{layer}22.")}
        extra |= {n.replace(".22.", ".23."): t.clone() for n, t in last.items()}
        extra |= {"cond_stage_model.model.text_projection": torch.ones(16, 16)}
        del extra["cond_stage_model.transformer.text_model.embeddings.position_ids"]
    save_file(whole | extra, file)
    assert take(store, file, base).digest == store.add(base).digest
