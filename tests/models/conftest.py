"""A small, well-formed model folder to break in many ways, and the real demo model."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from gpufair.provider.models.store import ModelStore
from gpufair.provider.models.tensors import DTYPES


def tensors(header: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A safetensors file with this header, whatever it says, and these bytes after it."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


GOOD_TENSORS = tensors({"w": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}, b"\0" * 8)


@pytest.fixture(name="tensors")
def tensors_fixture() -> Callable[..., bytes]:
    """The maker of safetensors files."""
    return tensors


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A maker of sound safetensors files full of zeros: file name, shapes by tensor name."""

    def make(
        name: str, shapes: dict[str, tuple[int, ...]], *, dtype: str = "F32", metadata: dict[str, str] | None = None
    ) -> Path:
        header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
        end = 0
        for tensor, shape in shapes.items():
            start, end = end, end + math.prod(shape) * DTYPES[dtype]
            header[tensor] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        (tmp_path / name).write_bytes(tensors(header, bytes(end)))
        return tmp_path / name

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that the store takes."""
    root = tmp_path / "tiny"
    (root / "unet").mkdir(parents=True)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "requires_safety_checker": False,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": [None, None],
    }
    (root / "model_index.json").write_text(json.dumps(index))
    (root / "unet" / "config.json").write_text('{"sample_size": 16}')
    (root / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(GOOD_TENSORS)
    (root / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (root / "sample.png").write_bytes(b"a picture")
    return root


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "store")


@pytest.fixture
def demo() -> Path:
    """The demo model's folder."""
    return Path(str(files("gpufair.provider.models") / "demo"))
