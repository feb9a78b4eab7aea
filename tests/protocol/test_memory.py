"""How much memory pictures need, foretold: known models within known figures, and nonsense foretells nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol.limits import MIB
from gpufair.protocol.memory import Footprint, footprint

VAE = {"block_out_channels": [128, 256, 512, 512]}
SD = {
    "sample_size": 64, "layers_per_block": 2, "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
}  # fmt: skip
SDXL = {
    "sample_size": 128, "layers_per_block": 2, "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
}  # fmt: skip
DIT = {"sample_size": 32, "num_attention_heads": 16, "attention_head_dim": 72, "patch_size": 2}
WEIGHTS = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_557}


def known(**configs: Any) -> Footprint:
    found = footprint({"vae": VAE} | configs, WEIGHTS)
    assert found is not None
    return found


def test_stable_diffusion_is_known_to_take_this_much() -> None:
    sd = known(unet=SD)
    assert (sd.scale, sd.side) == (8, 512)
    assert sd.weights_bytes(half=False) == sum(WEIGHTS.values()) * 4
    assert sd.weights_bytes(half=True) == (WEIGHTS["unet"] + WEIGHTS["text_encoder"]) * 2 + WEIGHTS["vae"] * 4
    # Live tensors of real passes, in MiB: a step of 33,280 bytes a place, decoding of 3,088 bytes a pixel.
    assert sd.per_place * 4 == pytest.approx(33_280, rel=0.05)
    assert 3_088 <= sd.per_pixel * 4 < 3_088 * 1.2
    assert 1100 * MIB < sd.picture_bytes(512 * 512, guided=True, half=False) < 1600 * MIB


def test_other_makes_are_known_too() -> None:
    assert known(unet=SDXL).per_place * 4 == pytest.approx(20_160, rel=0.05)
    assert known(transformer=DIT).per_place > 1000


def test_more_is_never_foretold_to_take_less() -> None:
    sd = known(unet=SD)
    sizes = [sd.picture_bytes(side**2, guided=False, half=False) for side in (64, 512, 1024, 2048)]
    assert sizes == sorted(sizes)
    huge = 2048**2
    assert sd.picture_bytes(huge, guided=True, half=False) >= sd.picture_bytes(huge, guided=False, half=False)
    assert sd.picture_bytes(huge, guided=True, half=True) <= sd.picture_bytes(huge, guided=True, half=False)


def test_a_large_picture_is_decoded_in_tiles_and_needs_no_more_for_it() -> None:
    sd, other = known(unet=SD), known(unet=SD, vae={**VAE, "_class_name": "AutoencoderDC"})
    tile, large = 1024 * 1024, 2048 * 2048
    assert sd.picture_bytes(large, guided=False, half=True) < 2 * sd.picture_bytes(tile, guided=False, half=True)
    assert other.picture_bytes(large, guided=False, half=True) > 3.5 * other.picture_bytes(
        tile, guided=False, half=True
    )


junk = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)


@given(
    st.dictionaries(
        st.sampled_from(["unet", "vae", "transformer"]), st.dictionaries(st.sampled_from(sorted({*SD, *DIT})), junk)
    )
)
def test_nonsense_foretells_nothing_and_breaks_nothing(configs: dict[str, dict[str, Any]]) -> None:
    found = footprint(configs, {})
    if found is not None:
        assert found.picture_bytes(512 * 512, guided=True, half=True) >= 0
