"""Pictures from pictures, and LoRAs: bought on the command line from a provider whose worker really draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from command_line import Customer, refused
from PIL import Image, ImageChops, ImageDraw, ImageStat
from safetensors import safe_open
from safetensors.torch import save_file

from gpufair.provider.models.store import ModelStore

FOX = ("a fox on a green background", "--seed", "7", "--steps", "10")


@pytest.fixture(scope="module")
def artist(nodes_of_module: Any, ledger: Any) -> Iterator[Any]:
    """A provider with the demo model, a LoRA for it, and one for something else."""
    provider = nodes_of_module.provider(ledger, null=False)
    store = ModelStore(provider.home.models)
    [demo] = store.list()
    for name, rename in (("loud", ""), ("foreign", "other_")):
        file = provider.home.root / f"{name}.safetensors"
        noise_lora(file, store.path(demo.digest) / "unet" / "diffusion_pytorch_model.safetensors", rename)
        store.add_adapter(file, name=name, licence="cc0-1.0")
    provider.up().warm()
    yield provider
    assert provider.stop() == 0


def noise_lora(file: Path, unet: Path, rename: str) -> None:
    """A LoRA of chance on every attention of a model: it must change any picture."""
    import torch

    made, dice = {}, torch.Generator().manual_seed(1)
    with safe_open(unet, "pt") as weights:
        for name in weights.keys():  # noqa: SIM118
            if name.endswith(("to_q.weight", "to_v.weight")):
                out, into = weights.get_slice(name).get_shape()
                module = "unet." + rename + name.removesuffix(".weight")
                made[f"{module}.lora_A.weight"] = torch.randn(4, into, generator=dice)
                made[f"{module}.lora_B.weight"] = torch.randn(out, 4, generator=dice) / 20
    save_file(made, file)


@pytest.fixture(scope="module")
def buyer(artist: Any, ledger: Any, tmp_path_factory: pytest.TempPathFactory) -> Customer:
    """Somebody who has bought a fox."""
    customer = Customer.of(ledger, artist, folder=tmp_path_factory.mktemp("buyer"))
    customer.ok("run", *FOX, "--yes", "-o", "fox.png")
    return customer


def difference(one: Image.Image, other: Image.Image) -> float:
    """How far two pictures are apart, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


def picture(buyer: Customer, name: str) -> Image.Image:
    return Image.open(buyer.folder / name)


def test_a_picture_is_changed_the_more_the_stronger(buyer: Customer) -> None:
    fox, far = picture(buyer, "fox.png"), []
    for strength, steps, skip in (("0.2", 2, 8), ("0.9", 9, 1)):
        file = f"cat-{strength}.png"
        bought = buyer.ok(
            "run", "a cat on a blue background", "--yes", "-o", file, "--image", "fox.png", "--strength", strength,
            "--seed", "3", "--steps", "10",
        )  # fmt: skip
        assert (bought["spec"]["task"], bought["spec"]["steps"], bought["spec"]["skip"]) == (
            "image_to_image", steps, skip,
        )  # fmt: skip
        assert "encode" in {line["line"] for line in bought["plan"]["quote"]["lines"]}
        assert buyer.ok("verify", file)["spec"]["skip"] == skip
        far.append(difference(fox, picture(buyer, file)))
    assert far[0] < far[1] * 0.7
    shown = buyer("show", bought["job"]).out
    assert "image to image" in shown
    assert "9 steps of 10, 1 skipped" in shown


def test_only_what_the_mask_shows_is_made_anew(buyer: Customer) -> None:
    mask = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(mask).rectangle((32, 0, 63, 63), fill=255)
    mask.save(buyer.folder / "right.png")
    bought = buyer.ok(
        "run", "a blue ball on a red background", "--yes", "-o", "half.png", "--image", "fox.png", "--mask",
        "right.png", "--seed", "5", "--steps", "10",
    )  # fmt: skip
    assert (bought["spec"]["task"], bought["spec"]["skip"]) == ("inpaint", 0)
    fox, half = picture(buyer, "fox.png"), picture(buyer, "half.png")
    kept, made = (difference(fox.crop(box), half.crop(box)) for box in ((0, 0, 24, 64), (40, 0, 64, 64)))
    assert kept * 4 < made


def test_a_picture_goes_on_around_its_edges(buyer: Customer) -> None:
    bought = buyer.ok(
        "run", "a green field", "--yes", "-o", "wide.png", "--image", "fox.png", "--outpaint", "16,0,16,0", "--steps",
        "10", "--seed", "1",
    )  # fmt: skip
    assert (bought["spec"]["task"], bought["spec"]["width"]) == ("inpaint", 64), "the demo model draws one size alone"


def test_a_lora_changes_the_picture_as_much_as_its_weight_says(buyer: Customer) -> None:
    [offer] = buyer.ok("offers")["offers"]
    assert {one["name"] for one in offer["adapters"]} == {"loud", "pencil"}, "the third fits nothing that is sold"
    [model] = offer["models"]
    assert model["tasks"] == ["text_to_image", "image_to_image", "inpaint"]
    listed = buyer("offers").out
    assert "LoRA loud" in listed
    assert "image to image" in listed
    far = []
    for weight in ("0", "0.5", "1"):
        file = f"lora-{weight}.png"
        bought = buyer.ok("run", *FOX, "--yes", "-o", file, "--lora", f"loud:{weight}")
        assert [one["weight_milli"] for one in bought["spec"]["adapters"]] == [int(float(weight) * 1000)]
        far.append(difference(picture(buyer, "fox.png"), picture(buyer, file)))
    assert far[0] == 0
    assert 0 < far[1] < far[2]
    assert "loud (" in buyer("show", bought["job"]).out
    refused(buyer("run", *FOX, "--yes", "--lora", "foreign", "--json"), 3, "nobody offers the LoRA 'foreign'")


def test_what_cannot_be_done_is_refused_at_the_quote(buyer: Customer) -> None:
    """The real command line, with a provider that would be asked: every bound is named, nothing is spent."""
    folder, before = buyer.folder, buyer.ok("balance")["ledgers"][0]["available"]
    (folder / "cut.jpg").write_bytes(jpeg()[:300])
    (folder / "text.png").write_text("no picture")
    Image.new("RGB", (64, 32), "white").save(folder / "flat.png")
    Image.new("1", (9000, 9000)).save(folder / "16k.png")
    for options, code, words in (
        (("--image", "cut.jpg"), 2, "can't be read"),
        (("--image", "text.png"), 2, "can't be read"),
        (("--image", "16k.png"), 2, "9000x9000 pixels, at most 8192 a side"),
        (("--image", "fox.png", "--mask", "flat.png"), 2, "the mask has 64x32 pixels, the image 64x64"),
        (("--image", "fox.png", "--outpaint", "32,0,32,0"), 2, "at least 8 each"),
        (("--guidance", "nan"), 2, "is not a number"),
        (("--guidance", "-1"), 2, "must be 0 to 50"),
        (("--steps", "0"), 2, "must be 1 to 500"),
        (("--steps", "1000000000"), 2, "must be 1 to 500"),
        (("--steps", "101"), 3, "steps_too_many 101 100"),
        (("--size", "60x64"), 2, "multiple of 8"),
        (("--size", "2048x2048"), 3, "size_too_large 4194304 1048576"),
        (("--size", "16384x8640"), 2, "must be 8 to 4096"),
        (("--negative", "x" * 2**20), 2, "1048576 bytes, at most 8192"),
        (("--scheduler", "lcm"), 3, "scheduler not offered"),
        (("--scheduler", "own"), 3, "scheduler not offered"),
        (("--precision", "half"), 3, "precision not offered"),
    ):
        for command in (("quote", "a fox"), ("run", "a fox", "--yes")):
            answer = buyer(*command, *options, "--json")
            assert answer.code == code, (options, answer.err, answer.out)
            error = answer.error
            reasons = " ".join(f"{one['code']} {one['wanted']} {one['limit']}" for one in error["reasons"])
            assert words in f"{error['what']} {error['hint']} {reasons}", (options, error)
    assert buyer.ok("balance")["ledgers"][0]["available"] == before


def jpeg() -> bytes:
    import io

    out = io.BytesIO()
    Image.frombytes("RGB", (64, 64), Random(1).randbytes(64 * 64 * 3)).save(out, "JPEG")
    return out.getvalue()


def test_the_lora_that_is_shipped_draws_in_pencil(buyer: Customer) -> None:
    """Grey on white, whatever background the words ask for."""
    house = ("run", "a house on a pink background", "--yes", "--seed", "2", "--steps", "10")
    buyer.ok(*house, "-o", "house.png")
    buyer.ok(*house, "-o", "pencil.png", "--lora", "pencil")
    plain, pencil = (
        ImageStat.Stat(picture(buyer, name).convert("HSV")).mean[1] for name in ("house.png", "pencil.png")
    )
    assert pencil * 3 < plain
