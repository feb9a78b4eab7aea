"""What lies in a running provider's store is on sale: adapters with the models that they fit, and nothing without care
removed from under a lease."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from whole_nodes import MODEL, PRICE, World

from gpufair.client.failures import DeclinedError, JobFailedError
from gpufair.client.sdk import Client
from gpufair.provider.cli import models
from gpufair.provider.cli.app import app
from gpufair.provider.cli.endings import exit_code
from gpufair.provider.control import NodeRefusedError

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


def test_what_is_sold_under_an_open_lease_is_not_removed_by_accident(world: Any) -> None:
    async def story(w: World) -> None:
        assert w.provider.seller is not None
        store, home = w.provider.seller.models, w.provider.home
        home.config.touch()

        async def remove(*, force: bool = False) -> None:
            await asyncio.to_thread(models.remove, "demo", force=force, home=home.root, as_json=True)

        async with Client(w.buyer).lease(budget=10 * PRICE) as lease:
            await lease.run("a fox")
            with pytest.raises(NodeRefusedError, match="1 leases are open") as caught:
                await remove()
            assert (exit_code(caught.value), "--force" in caught.value.hint) == (4, True)
            [model] = store.list()
            await remove(force=True)
            assert store.list() == []
            with pytest.raises((JobFailedError, DeclinedError)):
                await lease.run("an owl")
            assert lease.left == 9 * PRICE, "what was not made costs nothing"
            store.add(MODEL, name="demo")
            await lease.run("an owl")
        assert store.list() == [model]
        await remove()
        assert store.list() == []

    world(story)


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
        home = w.provider.home
        home.config.touch()
        said = await asyncio.to_thread(CliRunner().invoke, app, ["status", "--home", str(home.root)])
        assert f"lora       fitting {fitting.digest.hex()[:16]} fits 1 of these" in said.output
        assert "foreign" not in said.output
        store.remove(model.digest)
        assert offers.current().doc.adapters == ()

    world(story)
