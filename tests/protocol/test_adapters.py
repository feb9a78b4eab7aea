"""Names of a LoRA's tensors: diffusers', peft's and kohya's mean the same places; what is not understood is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import adapters
from gpufair.protocol.adapters import Place

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_out.0"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"
MODEL = adapters.places("unet", {f"{Q}.weight": (8, 8), f"{OUT}.weight": (8, 8), "conv_in.weight": (8, 4, 3, 3)})
MODEL |= adapters.places("text_encoder", {f"{TEXT}.weight": (6, 6), "text_model.final_layer_norm.weight": (6,)})


def pair(down: str, up: str, *, rank: int = 2, ins: int = 8, outs: int = 8) -> dict[str, tuple[int, ...]]:
    """The two tensors of a linear module's change."""
    return {down: (rank, ins), up: (outs, rank)}


@pytest.mark.parametrize(
    ("down", "up", "module"),
    [
        (f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight", Q),
        (f"{Q}.lora_A.weight", f"{Q}.lora_B.weight", Q),
        (f"base_model.model.{Q}.lora_A.weight", f"base_model.model.{Q}.lora_B.weight", Q),
        (f"unet.{Q}.lora_A.default.weight", f"unet.{Q}.lora_B.default.weight", Q),
        (f"unet.{Q}.lora.down.weight", f"unet.{Q}.lora.up.weight", Q),
        (
            "unet." + Q.replace("attn1.", "attn1.processor.") + "_lora.down.weight",
            "unet." + Q.replace("attn1.", "attn1.processor.") + "_lora.up.weight",
            Q,
        ),
        (
            "unet." + OUT.replace("attn2.", "attn2.processor.").removesuffix(".0") + "_lora.down.weight",
            "unet." + OUT.replace("attn2.", "attn2.processor.").removesuffix(".0") + "_lora.up.weight",
            OUT,
        ),
        (f"lora_unet_{Q.replace('.', '_')}.lora_down.weight", f"lora_unet_{Q.replace('.', '_')}.lora_up.weight", Q),
    ],
)
def test_every_way_to_name_a_change_means_the_same_place(down: str, up: str, module: str) -> None:
    found = adapters.changes(pair(down, up))
    assert list(found) == [Place("unet", module.replace(".", "_"))]
    [change] = found.values()
    assert (change.down, change.up, change.rank, change.inputs, change.outputs) == (down, up, 2, 8, 8)
    assert adapters.fits(found, MODEL)


@pytest.mark.parametrize(
    "stem",
    [
        f"text_encoder.{TEXT}",
        TEXT,
        "text_encoder." + TEXT.removeprefix("text_model."),
    ],
)
def test_text_encoders_are_changed_too(stem: str) -> None:
    for down, up in ((".lora_A.weight", ".lora_B.weight"), (".lora_linear_layer.down.weight",) * 2):
        up = up.replace(".down.", ".up.")
        assert adapters.fits(adapters.changes(pair(stem + down, stem + up, ins=6, outs=6)), MODEL)
    kohya = "lora_te_" + TEXT.replace(".", "_")
    shapes = pair(f"{kohya}.lora_down.weight", f"{kohya}.lora_up.weight", ins=6, outs=6) | {f"{kohya}.alpha": ()}
    [change] = adapters.changes(shapes).values()
    assert change.alpha == f"{kohya}.alpha"
    assert adapters.fits(adapters.changes(shapes), MODEL)


def test_convolutions_fit_by_their_window() -> None:
    conv = {"unet.conv_in.lora.down.weight": (2, 4, 3, 3), "unet.conv_in.lora.up.weight": (8, 2, 1, 1)}
    assert adapters.fits(adapters.changes(conv), MODEL)
    shapes = {name.replace("unet.", "lora_unet_").replace(".lora.", ".lora_"): shape for name, shape in conv.items()}
    assert adapters.fits(adapters.changes(shapes), MODEL)
    for window in ((1, 1), (3, 1), (5, 5)):
        other = {name: (*shape[:2], *window) if "down" in name else shape for name, shape in shapes.items()}
        assert not adapters.fits(adapters.changes(other), MODEL)
    proj = "mid_block.attentions.0.proj_in"
    pixel = adapters.places("unet", {f"{proj}.weight": (8, 8, 1, 1)})
    assert adapters.fits(adapters.changes(pair(f"unet.{proj}.lora_A.weight", f"unet.{proj}.lora_B.weight")), pixel)


def test_another_familys_adapter_does_not_fit() -> None:
    for stem, ins, outs in ((Q, 9, 8), (Q, 8, 9), (Q.replace("blocks.0.att", "blocks.7.att", 1), 8, 8)):
        found = adapters.changes(pair(f"unet.{stem}.lora_A.weight", f"unet.{stem}.lora_B.weight", ins=ins, outs=outs))
        assert not adapters.fits(found, MODEL)
    both = pair(f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight") | pair(
        f"transformer.{Q}.lora_A.weight", f"transformer.{Q}.lora_B.weight"
    )
    assert not adapters.fits(adapters.changes(both), MODEL)


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ({}, "no tensor"),
        ({f"unet.{Q}.lora_A.weight": (2, 8)}, "other half"),
        ({f"unet.{Q}.alpha": ()}, "other half"),
        ({f"unet.{Q}.lora_A.weight": (2, 8), f"unet.{Q}.lora_B.weight": (8, 3)}, "multiplied"),
        ({f"unet.{Q}.lora_A.weight": (2,), f"unet.{Q}.lora_B.weight": (8, 2)}, "multiplied"),
        ({f"unet.{Q}.lora_A.weight": (0, 8), f"unet.{Q}.lora_B.weight": (8, 0)}, "multiplied"),
        ({f"unet.{Q}.lora_A.weight": (2, 8), f"unet.{Q}.lora_B.weight": (8, 2, 3, 3)}, "multiplied"),
        (pair(f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight") | {f"unet.{Q}.alpha": (2,)}, "single number"),
        (pair(f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight") | {f"unet.{Q}.dora_scale": (8,)}, "dora_scale"),
        ({f"unet.{Q}.hada_w1_a": (8, 2)}, "hada_w1_a"),
        ({f"{Q}.weight": (8, 8)}, "no part of a LoRA"),
        (
            pair(f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight") | {f"unet.{Q}.lora.down.weight": (2, 8)},
            "same part",
        ),
    ],
)
def test_what_is_no_plain_lora_is_refused_with_the_tensors_name(shapes: dict[str, tuple[int, ...]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        adapters.changes(shapes)


NAMES = st.sampled_from([
    f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight", f"unet.{Q}.alpha", ".alpha", "_lora.down.weight",
    "lora_unet_.lora_down.weight", "unet.", "", "lora_te_x.lora_up.weight",
])  # fmt: skip


@given(st.dictionaries(NAMES | st.text(max_size=20), st.lists(st.integers(0, 4), max_size=5).map(tuple), max_size=5))
def test_any_names_and_shapes_are_understood_or_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    try:
        found = adapters.changes(shapes)
    except ValueError:
        return
    assert found
    assert {name for c in found.values() for name in (c.down, c.up, c.alpha) if name} == set(shapes)
