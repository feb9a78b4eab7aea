"""What a worker computes in: 16 bits where the owner wants them, told in the profile, and never sold as 32."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpufair.protocol.frames import VERSION, Done, FailCode, Failed, Hello, Load, Loaded, LoadFailed


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.int16)


def test_sixteen_bits_make_nearly_the_same_picture_and_say_so(warm: Any, start: Any, demo: Any, pictures: Any) -> None:
    half = start(dtype="bfloat16")
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


@pytest.mark.parametrize(("dtype", "precision"), [("", "half"), ("bfloat16", "exact"), ("bfloat16", "single")])
def test_no_precision_is_sold_for_another(start: Any, demo: Any, dtype: str, precision: str) -> None:
    worker = start(dtype=dtype)
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
