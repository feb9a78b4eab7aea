"""An adapter in a running provider's store is offered with the models that it fits, and leaves the offer with them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from whole_nodes import World

Q = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def lora(file: Path, width: int) -> Path:
    """A LoRA of no effect for a module of this width."""
    header, end = {}, 0
    for name, shape in ((f"{Q}.lora_A.weight", [2, width]), (f"{Q}.lora_B.weight", [width, 2])):
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 8 * width]}
        end += 8 * width
    raw = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(end))
    return file


def test_what_fits_is_offered(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        assert w.provider.seller is not None
        store, offers = w.provider.seller.models, w.provider.seller.offers
        [model] = store.list()
        weights = store.path(model.digest) / "unet" / "diffusion_pytorch_model.safetensors"
        with weights.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        width = header[f"{Q.removeprefix('unet.')}.weight"]["shape"][0]
        fitting = store.add_adapter(lora(tmp_path / "fitting.safetensors", width), licence="mit")
        store.add_adapter(lora(tmp_path / "foreign.safetensors", width + 8))
        [offered] = offers.current().doc.adapters
        assert (offered.digest, offered.name, offered.licence) == (fitting.digest, "fitting", "mit")
        assert offered.models == (model.digest,)
        store.remove(model.digest)
        assert offers.current().doc.adapters == ()

    world(story)
