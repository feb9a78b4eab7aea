"""What a worker computes in: 16 bits where the owner wants them, told in the profile, and never sold as 32."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gpufair.protocol.frames import VERSION, Done, FailCode, Failed, Hello, Load, Loaded, LoadFailed
from gpufair.provider.inference import weights
from gpufair.provider.inference.adapters import Patch
from gpufair.provider.inference.batcher import Batcher


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.int16)


@pytest.fixture(scope="module")
def half(start: Any) -> Any:
    """A worker that computes in 16 bits."""
    return start(dtype="bfloat16")


def test_sixteen_bits_make_nearly_the_same_picture_and_say_so(warm: Any, half: Any, demo: Any, pictures: Any) -> None:
    assert half.greeting.profile.dtype == "bfloat16"
    half.send(Load(demo.digest, demo.path))
    loaded = half.until(Loaded, LoadFailed)[-1]
    warm.send(Load(demo.digest, demo.path))
    assert loaded.size < warm.until(Loaded, LoadFailed)[-1].size * 0.7, "the VAE alone is kept in 32 bits"
    run = demo.run(steps=12, seed=3)
    exact = pixels(pictures(warm.run(run)).png[0])
    for precision in ("half", ""):
        got = half.run(dataclasses.replace(run, precision=precision))
        assert isinstance(got[-1], Done), got[-1]
        apart = np.abs(pixels(pictures(got).png[0]) - exact)
        assert 0 < apart.mean() < 8, "near, and not the same"


@pytest.mark.parametrize(("kind", "precision"), [("warm", "half"), ("half", "exact"), ("half", "single")])
def test_no_precision_is_sold_for_another(request: pytest.FixtureRequest, demo: Any, kind: str, precision: str) -> None:
    worker = request.getfixturevalue(kind)
    worker.send(Load(demo.digest, demo.path))
    assert isinstance(worker.until(Loaded, LoadFailed)[-1], Loaded)
    failed = worker.run(demo.run(precision=precision))[-1]
    assert isinstance(failed, Failed)
    assert failed.code is FailCode.BAD_REQUEST
    assert repr(precision) in failed.message


def test_an_unknown_arithmetic_is_no_worker(start: Any) -> None:
    worker = start(greet=False)
    worker.send(Hello(VERSION, b"n" * 16, 1, "auto", "int3"))
    assert worker.exit_code() == 4
    assert "int3" in worker.stderr.read_text()


@pytest.mark.long
def test_a_compiled_denoiser_makes_the_picture_too(warm: Any, start: Any, demo: Any, pictures: Any) -> None:
    worker = start(compile=True)
    assert "compiled" in worker.greeting.profile.flags
    worker.send(Load(demo.digest, demo.path))
    assert isinstance(worker.until(Loaded, LoadFailed)[-1], Loaded)
    run = demo.run()
    got = worker.run(run)
    assert isinstance(got[-1], Done), got[-1]
    apart = np.abs(pixels(pictures(got).png[0]) - pixels(pictures(warm.run(run)).png[0]))
    assert apart.mean() < 1


def test_a_large_picture_goes_through_the_vae_in_tiles_and_a_small_one_does_not(warm: Any, demo: Any) -> None:
    """The same latents with and without: no seam to be seen, and the profile tells where it begins."""
    assert "vae-tiles 1024" in warm.greeting.profile.flags
    vae = weights.load(Path(demo.path), demo.digest, torch.device("cpu"))[0].vae
    generator = torch.Generator().manual_seed(1)
    for pixels, tiled in ((1024, False), (1152, True)):
        latents = torch.randn(1, 4, 16, pixels // 4, generator=generator)
        with torch.no_grad():
            made = vae.decode(latents).sample
            vae.disable_tiling()
            plain = vae.decode(latents).sample
            vae.enable_tiling()
        assert torch.equal(made, plain) is not tiled
        assert (made - plain).abs().mean() < 0.02 * plain.abs().mean()


def test_a_compiled_denoiser_meets_few_numbers_of_pictures(demo: Any) -> None:
    pipeline, seen = weights.load(Path(demo.path), demo.digest, torch.device("cpu"))[0], []
    pipeline.unet.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    batcher = Batcher(torch.device("cpu"), in_powers=True)
    with torch.no_grad():
        for steps in (2, 3, 4, 5, 6, 7, 8):
            run = demo.run(steps=steps, guidance_milli=1000, precision="single")
            batcher.admit(pipeline, Patch(), run, (), lambda _frame: None, lambda: False)
        while batcher.is_busy:
            assert all(err is None for _, err in batcher.advance())
    assert set(seen) == {4, 2, 1}
    assert sum(seen) == sum((2, 3, 4, 5, 6, 7, 8)), "every step of every picture, once"
