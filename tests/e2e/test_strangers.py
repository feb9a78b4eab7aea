"""A picture from a model that nobody wrote a loop for: bought on the command line, delivered, receipted, verified."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Customer
from PIL import Image

from gpufair.provider.models.store import ModelStore

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))

import strangers


@pytest.fixture(scope="module")
def artist(nodes_of_module: Any, ledger: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A provider with the demo model, and a tiny PixArt of random weights."""
    provider = nodes_of_module.provider(ledger, null=False)
    ModelStore(provider.home.models).add(strangers.write(strangers.pixart(), tmp_path_factory.mktemp("mud") / "mud"))
    provider.up().warm()
    yield provider
    assert provider.stop() == 0


def test_it_is_bought_like_any_other(artist: Any, ledger: Any, tmp_path: Path) -> None:
    buyer = Customer.of(ledger, artist, folder=tmp_path)
    bought = buyer.ok(
        "run", "a fox", "--model", "mud", "--size", "64x64", "--steps", "3", "--seed", "7", "--yes",
        "-o", "mud.png",
    )  # fmt: skip
    assert Image.open(tmp_path / "mud.png").size == (64, 64)
    assert (bought["spec"]["scheduler"], bought["state"]) == ("own", "paid")
    buyer.ok("verify", "mud.png")
