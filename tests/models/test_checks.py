"""Hostile model folders: each is refused, with the reason that fits."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, PeerError
from gpufair.provider.models import checks
from gpufair.provider.models.tensors import read_header

WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"
Make = Callable[..., bytes]


def refusal(folder: Path) -> Fault:
    """Why the folder is refused."""
    with pytest.raises(PeerError) as caught:
        take(folder)
    return caught.value.fault


def take(folder: Path) -> None:
    """Check a folder as the store does."""
    checks.content(folder)
    checks.family(folder / checks.INDEX)


def test_a_good_folder_passes(folder: Path, demo: Path) -> None:
    assert len(checks.content(folder)) == 3
    assert checks.family(folder / checks.INDEX) == "StableDiffusionPipeline"
    assert len(checks.content(demo)) == 12


@pytest.mark.parametrize("name", ["unet/w.bin", "m.ckpt", "x.PT", "a.pkl", "pipeline.py", "unet/k.so", "h.pth"])
def test_files_that_can_carry_code_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")
    assert refusal(folder) is Fault.NOT_ALLOWED


def test_links_are_refused_wherever_they_point(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    for number, target in enumerate(["../secret.json", "/etc/passwd", "model_index.json", "nowhere"]):
        link = folder / f"l{number}.json"
        link.symlink_to(target)
        assert refusal(folder) is Fault.NOT_ALLOWED
        link.unlink()
    (folder / "vae").symlink_to(tmp_path)
    assert refusal(folder) is Fault.NOT_ALLOWED
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert refusal(linked) is Fault.WRONG_TYPE


def test_special_files_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "config.json")
    assert refusal(folder) is Fault.NOT_ALLOWED


@pytest.mark.parametrize("name", ["a b.json", "x\n.json", "ü.json", "-rf.json", "x" * 140 + ".json"])
def test_names_that_are_not_plain_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    assert refusal(folder) is Fault.NOT_ALLOWED


def test_too_many_and_too_deep_files_are_refused(folder: Path) -> None:
    deep = folder / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (deep / "x.json").write_text("{}")
    assert refusal(folder) is Fault.LIMIT
    (deep / "x.json").unlink()
    deep.rmdir()
    for number in range(limits.MODEL_FILES_MAX):
        (folder / f"n{number}.txt").write_text("")
    assert refusal(folder) is Fault.LIMIT


def test_a_folder_without_an_index_or_no_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / checks.INDEX).rename(folder / "other.json")
    with pytest.raises(PeerError):
        checks.content(folder)
    for nothing in (tmp_path / "none", folder / "other.json"):
        with pytest.raises(PeerError):
            checks.content(nothing)


@pytest.mark.parametrize(
    "change",
    [
        {"unet": ["my_code", "UNet"]},
        {"unet": ["diffusers", "os.system"]},
        {"unet": ["diffusers", "__import__"]},
        {"unet": ["diffusers.utils", "UNet"]},
        {"unet": ["diffusers"]},
        {"unet": ["diffusers", ["UNet2DConditionModel"]]},
        {"unet": [None, "UNet2DConditionModel"]},
        {"unet": {"library": "diffusers"}},
        {"safety_checker": ["stable_diffusion", "Other"]},
        {"_class_name": ["pipeline", "MyPipeline"]},
        {"_class_name": "os.system"},
        {"_class_name": None},
    ],
)
def test_classes_that_no_library_has_are_refused(folder: Path, change: dict[str, Any]) -> None:
    index = json.loads((folder / checks.INDEX).read_text()) | change
    (folder / checks.INDEX).write_text(json.dumps(index))
    assert refusal(folder) is Fault.NOT_ALLOWED


@pytest.mark.parametrize("key", checks.CODE_KEYS)
def test_configurations_that_ask_for_code_are_refused(folder: Path, key: str) -> None:
    (folder / "unet" / "config.json").write_text(json.dumps({"a": [{"b": {key: {"AutoModel": "x--evil.Model"}}}]}))
    assert refusal(folder) is Fault.NOT_ALLOWED


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", Fault.MALFORMED),
        (b"{", Fault.MALFORMED),
        (b"\xff\xfe{}", Fault.MALFORMED),
        (b"[" * 100_000, Fault.MALFORMED),
        (b"[" * 40 + b"]" * 40, Fault.LIMIT),
    ],
)
def test_broken_json_is_refused(folder: Path, text: bytes, fault: Fault) -> None:
    (folder / "unet" / "config.json").write_bytes(text)
    assert refusal(folder) is fault


def test_an_oversized_configuration_is_refused_unread(folder: Path) -> None:
    with (folder / "unet" / "config.json").open("wb") as file:
        file.truncate(limits.MODEL_TEXT_MAX + 1)
    assert refusal(folder) is Fault.TOO_LARGE


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [0, 4]},  # shorter than shape and type say
        {"data_offsets": [8, 16]},  # a gap
        {"data_offsets": [-8, 0]},
        {"data_offsets": [0, 8, 8]},
        {"data_offsets": [False, 8]},
        {"shape": [2**41, 0]},
        {"shape": [-2, -1]},
        {"shape": [2.0]},
        {"shape": "2"},
        {"dtype": "PICKLE"},
        {"dtype": 5},
    ],
)
def test_tensors_that_lie_are_refused(folder: Path, tensors: Make, change: dict[str, Any]) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    (folder / WEIGHTS).write_bytes(tensors({"w": entry}, b"\0" * 8))
    checks.content(folder)
    (folder / WEIGHTS).write_bytes(tensors({"w": entry | change}, b"\0" * 8))
    assert refusal(folder) is Fault.MALFORMED


def test_lying_headers_are_refused(folder: Path, tensors: Make) -> None:
    good = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
    for bad in (
        b"",
        b"\x10",
        struct.pack("<Q", 2**63) + b"{}",  # a header larger than the world
        struct.pack("<Q", 0),
        struct.pack("<Q", 10) + b"{}",  # longer than the file
        tensors({"a": good, "b": good}, b"\0" * 4),  # overlapping
        tensors({"a": good}, b"\0" * 5),  # bytes that nobody owns
        tensors({"a": good}, b"\0" * 3),  # cut short
        tensors({"a": "no"}, b""),
        tensors(b"[1, 2]", b""),
        tensors(b"{" * 9000, b""),
        tensors(b"[" * 90_000, b""),
    ):
        (folder / WEIGHTS).write_bytes(bad)
        assert refusal(folder) is Fault.MALFORMED


def test_a_huge_header_is_refused_before_it_is_read(folder: Path) -> None:
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", limits.TENSORS_HEADER_MAX + 1))
        file.truncate(limits.TENSORS_HEADER_MAX + 100)
    assert refusal(folder) is Fault.MALFORMED


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_in_the_header_raises_nothing_but_a_refusal(
    folder: Path, tensors: Make, data: st.DataObject
) -> None:
    whole = bytearray(tensors({"w": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}, b"\0" * 8))
    whole[data.draw(st.integers(0, len(whole) - 9))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / WEIGHTS).write_bytes(whole)
    with contextlib.suppress(PeerError):
        read_header(folder / WEIGHTS)
