"""Prompts are encoded once while they are remembered, and as diffusers' own pipeline encodes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gpufair.provider.inference import weights
from gpufair.provider.inference.words import Words

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(demo: Any) -> Any:
    torch.set_num_threads(1)
    return weights.load(Path(demo.path), demo.digest, CPU)[0]


@pytest.fixture
def passes(pipeline: Any) -> Any:
    """How often the text encoder has run."""
    seen: list[int] = []
    hook = pipeline.text_encoder.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    hook.remove()


@torch.no_grad()
def test_bits_are_those_of_the_plain_pipeline(pipeline: Any, demo: Any) -> None:
    run = demo.run(prompt="a red apple", negative_prompt="blue")
    positive, negative = pipeline.encode_prompt("a red apple", CPU, 1, True, negative_prompt="blue")
    words = Words(CPU)
    for _ in range(2):
        assert torch.equal(words.of(pipeline, run), torch.cat([negative, positive]))
    assert torch.equal(words.of(pipeline, replace(run, guidance_milli=1000)), positive)


@torch.no_grad()
def test_a_text_is_encoded_once(pipeline: Any, demo: Any, passes: Any) -> None:
    words, run = Words(CPU), demo.run(prompt="a panda")
    words.of(pipeline, run)
    assert len(passes) == 2, "the prompt and the empty negative one"
    words.of(pipeline, replace(run, seed=7, steps=9))
    words.of(pipeline, replace(run, guidance_milli=1000))
    assert len(passes) == 2
    words.of(pipeline, replace(run, prompt="a fox"))
    assert len(passes) == 3
    words.of(pipeline, replace(run, model=b"o" * 32))
    assert len(passes) == 5, "another model reads otherwise"


@torch.no_grad()
def test_what_was_used_longest_ago_makes_room(pipeline: Any, demo: Any, passes: Any) -> None:
    plain = demo.run(guidance_milli=1000)
    size = Words(CPU).of(pipeline, plain).nbytes
    passes.clear()
    words = Words(CPU, most_bytes=2 * size)
    for text in ("one", "two", "one", "three", "one", "two"):
        words.of(pipeline, replace(plain, prompt=text))
    assert len(passes) == 4, "one, two, three, and two again"
