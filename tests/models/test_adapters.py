"""Adapters in the store: kept as models are, told apart from them, and fitting only what they were made for."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufair.protocol import adapters, limits
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.provider.models import checks
from gpufair.provider.models.store import ModelStore
from gpufair.provider.models.tensors import read_header

Make = Callable[..., bytes]
Write = Callable[..., Path]
Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture
def lora(demo: Path, write: Write) -> Path:
    """A LoRA of no effect for the demo model."""
    outs, ins = read_header(demo / "unet" / "diffusion_pytorch_model.safetensors").shapes[f"{Q}.weight"]
    return write("lora.safetensors", {f"unet.{Q}.lora_A.weight": (2, ins), f"unet.{Q}.lora_B.weight": (outs, 2)})


def test_an_adapter_is_kept_like_a_model_and_told_apart(store: ModelStore, demo: Path, lora: Path) -> None:
    model = store.add(demo, name="demo")
    adapter = store.add_adapter(lora, licence="mit")
    assert (adapter.name, adapter.kind, adapter.family, adapter.licence) == ("lora", "adapter", "LoRA", "mit")
    assert (model.kind, model.scheduler) == ("model", "DDIMScheduler")
    assert store.list() == [model]
    assert store.adapters() == [adapter]
    assert store.everything() == [model, adapter]
    assert [path.name for path in store.path(adapter.digest).iterdir()] == [adapters.FILE]
    assert store.verify(adapter.digest)
    assert ModelStore(store.path(model.digest).parent.parent).adapters() == [adapter]
    store.remove(adapter.digest)
    assert store.adapters() == []


def test_it_fits_the_model_that_it_was_made_for_alone(
    store: ModelStore, demo: Path, folder: Path, lora: Path, write: Write
) -> None:
    model, other = store.add(demo).digest, store.add(folder).digest
    adapter = store.add_adapter(lora).digest
    foreign = store.add_adapter(
        write("xl.safetensors", {f"unet.{Q}.lora_A.weight": (2, 640), f"unet.{Q}.lora_B.weight": (640, 2)})
    ).digest
    assert store.fits(adapter, model)
    assert not store.fits(adapter, other)
    assert not store.fits(foreign, model)
    assert not store.fits(model, adapter)
    assert not store.fits(adapter, b"x" * 32)
    store.remove(model)
    assert not store.fits(adapter, model)


def test_a_licence_in_the_file_itself_is_told(store: ModelStore, write: Write) -> None:
    shapes = {f"unet.{Q}.lora_A.weight": (2, 4), f"unet.{Q}.lora_B.weight": (4, 2)}
    file = write("m.safetensors", shapes, metadata={"modelspec.license": "openrail\x1b"})
    assert store.add_adapter(file).licence == "openrail\N{REPLACEMENT CHARACTER}"
    assert store.add_adapter(file, card="---\nlicense: mit\n---\n").licence == "mit"
    assert store.add_adapter(file, licence="own").licence == "own"


def test_what_is_no_adapter_is_refused_and_leaves_nothing(
    store: ModelStore, demo: Path, lora: Path, write: Write, tmp_path: Path
) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(lora)
    (tmp_path / "x.bin").write_bytes(lora.read_bytes())
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:
        file.truncate(limits.ADAPTER_BYTES_MAX + 1)
    whole = {f"unet.{Q}.lora_A.weight": (2, 4), f"unet.{Q}.lora_B.weight": (4, 2)}
    dora = {"lora_adapter_metadata": '{"unet.use_dora": true}'}
    half = {f"unet.{Q}.lora_A.weight": (2, 4)}
    for bad, fault in (
        (link, Fault.WRONG_TYPE),
        (tmp_path / "x.bin", Fault.WRONG_TYPE),
        (tmp_path / "none.safetensors", Fault.WRONG_TYPE),
        (tmp_path, Fault.WRONG_TYPE),
        (huge, Fault.TOO_LARGE),
        (demo / "unet" / "diffusion_pytorch_model.safetensors", Fault.WRONG_TYPE),
        (write("half.safetensors", half), Fault.WRONG_TYPE),
        (write("dora.safetensors", whole, metadata=dora), Fault.WRONG_TYPE),
        (write("deep.safetensors", whole, metadata={"lora_adapter_metadata": "[" * 99_999}), Fault.WRONG_TYPE),
        (write("int.safetensors", half | {f"unet.{Q}.lora_B.weight": (4, 2)}, dtype="I8"), Fault.MALFORMED),
    ):
        with pytest.raises(PeerError) as caught:
            store.add_adapter(bad)
        assert caught.value.fault is fault, bad
    assert store.everything() == []


def test_a_store_of_the_version_before_still_opens(store: ModelStore, demo: Path, tmp_path: Path) -> None:
    model = store.add(demo, name="demo")
    about = tmp_path / "store" / "about" / f"{model.digest.hex()}.json"
    old = {"digest": model.digest.hex(), "name": "demo", "family": "StableDiffusionPipeline", "licence": "apache-2.0"}
    about.write_text(json.dumps(old | {"card": model.card, "size": model.size}))
    assert ModelStore(tmp_path / "store").list() == [model]


def test_a_header_that_readers_could_read_in_two_ways_is_refused(tmp_path: Path, tensors: Make) -> None:
    entry = '{"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}'
    file = tmp_path / "twice.safetensors"
    file.write_bytes(tensors(f'{{"w": {entry}, "w": {entry}}}'.encode(), b"\0" * 4))
    with pytest.raises(PeerError):
        read_header(file)
    for bad in ({"a": 1}, [], "x", {"a": {"b": "c"}}):
        file.write_bytes(tensors({"__metadata__": bad}))
        with pytest.raises(PeerError):
            read_header(file)
    file.write_bytes(tensors({"a\x1bb": json.loads(entry)}, b"\0" * 4))
    with pytest.raises(PeerError):
        read_header(file)


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_in_an_adapter_raises_nothing_but_a_refusal(
    store: ModelStore, lora: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = bytearray(lora.read_bytes())
    header = struct.unpack("<Q", whole[:8])[0]
    whole[data.draw(st.integers(0, 7 + header))] ^= 1 << data.draw(st.integers(0, 7))
    file = tmp_path / "flipped.safetensors"
    file.write_bytes(whole)
    with contextlib.suppress(PeerError):
        checks.adapter(file)


def test_an_unknown_digest_is_no_adapter(store: ModelStore) -> None:
    with pytest.raises(LocalError):
        store.get(b"x" * 32)
