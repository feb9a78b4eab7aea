"""What an owner hands in is known by its content, and comes out again as it went in."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.provider.models import single
from gpufair.provider.models.exporting import export
from gpufair.provider.models.intake import Told, take
from gpufair.provider.models.store import ModelStore

Write = Callable[..., Path]
Q = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
PAIR = {f"{Q}.lora_A.weight": (2, 4), f"{Q}.lora_B.weight": (4, 2)}


def test_a_folder_is_a_model_and_a_file_what_its_tensors_say(
    store: ModelStore, folder: Path, write: Write, tmp_path: Path
) -> None:
    assert take(store, folder, Told("fox", "mit", "a card")).card == "a card"
    assert store.list()[0].licence == "mit"
    assert take(store, write("lora.safetensors", PAIR), Told()).kind == "adapter"
    whole = write("sd.safetensors", {"model.diffusion_model.out.2.weight": (4, 4)})
    with pytest.raises(LocalError, match="single file") as caught:
        take(store, whole, Told())
    assert "--like" in caught.value.hint
    with pytest.raises(PeerError, match="neither a LoRA nor"):
        take(store, write("vae.safetensors", {"decoder.conv_in.weight": (4, 4)}), Told())
    with pytest.raises(PeerError, match=r"decoder.* is no part of a LoRA"):
        take(store, tmp_path / "vae.safetensors", Told(adapter=True))
    for source, like in ((folder, folder), (tmp_path / "lora.safetensors", folder)):
        with pytest.raises(LocalError, match="--like is for"):
            take(store, source, Told(), like)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PeerError, match="has no model_index"):
        take(store, whole, Told(), (tmp_path / "empty"))


def test_a_file_that_programs_name_all_alike_is_called_like_its_folder(
    store: ModelStore, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "ink").mkdir()
    for name in ("pytorch_lora_weights", "adapter"):
        file = write(f"ink/{name}.safetensors", PAIR)
        assert take(store, file, Told()).name == "ink"
        assert take(store, file, Told("other")).name == "other"
    (tmp_path / "ink" / "adapter_config.json").write_text('{"lora_alpha": 64}')
    with pytest.raises(PeerError, match=r"settings in the adapter_config\.json"):
        take(store, file, Told())


@pytest.mark.parametrize("name", ["model.ckpt", "pytorch_lora.bin", "model.pt", "model.safetensors.zip", "none"])
def test_pickles_and_archives_are_refused_unread(store: ModelStore, tmp_path: Path, name: str) -> None:
    if name != "none":
        (tmp_path / name).write_bytes(b"\x80\x02csystem")
    with pytest.raises(PeerError, match="no safetensors file"):
        take(store, tmp_path / name, Told())


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_in_a_checkpoint_raises_nothing_but_a_refusal(
    folder: Path, write: Write, data: st.DataObject
) -> None:
    file = write("sd.safetensors", {"model.diffusion_model.out.2.weight": (4, 4), "alphas_cumprod": (3,)})
    whole = bytearray(file.read_bytes())
    header = int.from_bytes(whole[:8], "little")
    whole[data.draw(st.integers(0, 7 + header))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(whole)
    with contextlib.suppress(PeerError):
        single.check(file, folder)


@given(st.binary(max_size=200))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_taken_or_refused_in_words(store: ModelStore, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "any.safetensors"
    file.write_bytes(len(data).to_bytes(8, "little") + data)
    with pytest.raises(PeerError):
        take(store, file, Told())


def test_a_model_goes_out_and_comes_in_again(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    model = store.add(folder, name="tiny", licence="mine alone")
    export(store, model, tmp_path / "out")
    assert "# Tiny" in (tmp_path / "out" / "README.md").read_text()
    again = ModelStore(tmp_path / "second").add(tmp_path / "out")
    assert (again.digest, again.licence) == (model.digest, "mine alone")
    assert "license: apache-2.0" not in again.card


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("", ""),
        ("", "mit"),
        ("# only words\n", "mit"),
        ("---\ntags: [a]\n---\nwords\n", "mit"),
        ("---\nlicense: x\n---\n", "mit \\1"),
    ],
)
def test_an_adapter_goes_out_with_what_is_told_of_it(
    store: ModelStore, write: Write, tmp_path: Path, card: str, licence: str
) -> None:
    adapter = store.add_adapter(write("lora.safetensors", PAIR), card=card, licence=licence)
    export(store, adapter, tmp_path / "out")
    again = take(ModelStore(tmp_path / "second"), tmp_path / "out", Told())
    assert (again.digest, again.kind, again.licence) == (adapter.digest, "adapter", licence)
    assert again.card.endswith(card.removeprefix("---\n").split("---\n")[-1])


def test_a_tar_holds_the_same_and_is_always_the_same(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    model = store.add(folder)
    export(store, model, tmp_path / "one.tar")
    (tmp_path / "elsewhere").mkdir()
    export(store, model, tmp_path / "elsewhere" / "one.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "elsewhere" / "one.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert ModelStore(tmp_path / "second").add(tmp_path / "unpacked" / "one").digest == model.digest


def test_nothing_is_overwritten_and_nothing_damaged_goes_out(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    model = store.add(folder)
    for there in (tmp_path / "file", tmp_path / "link"):
        there.symlink_to("nowhere") if there.name == "link" else there.write_text("mine")
        with pytest.raises(LocalError) as caught:
            export(store, model, there)
        assert caught.value.fault is Fault.CONFLICT
    with pytest.raises(LocalError, match="can't be written"):
        export(store, model, tmp_path / "no" / "such" / "place")
    config = store.path(model.digest) / "unet" / "config.json"
    config.chmod(0o644)
    config.write_text("{}")
    with pytest.raises(LocalError, match="damaged"):
        export(store, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
