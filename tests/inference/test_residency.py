"""What is in memory: budgets hold, what is in use stays, shared parts are held once, the longest unused goes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpufair.protocol.frames import FailCode
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.residency import Residency, Tier


class Module:
    """Stands for weights: it knows where it was brought."""

    def __init__(self) -> None:
        self.tier: Tier | None = None


def moved(module: Module, tier: Tier) -> None:
    module.tier = tier


def residency(device: int, spare: int = 0, in_use: Callable[[], Any] = tuple) -> Residency:
    return Residency(device, spare, moved, in_use)


def load(memory: Residency, name: str, **parts: int) -> Any:
    """A model whose parts are named as given, of so many bytes each; what draws with it is the list of them."""
    return memory.load(name.encode(), lambda keep: [keep(part, size, Module) for part, size in parts.items()])


def test_the_longest_unused_goes_first() -> None:
    memory = residency(20)
    load(memory, "a", ua=10)
    load(memory, "b", ub=10)
    memory.use(b"a")
    load(memory, "c", uc=10)
    assert memory.held == (b"a", b"c")
    assert memory.use(b"b") is None


def test_models_that_share_a_part_hold_it_once_and_it_goes_with_the_last() -> None:
    memory = residency(30)
    [_, first] = load(memory, "a", ua=10, vae=5)
    [_, second] = load(memory, "b", ub=10, vae=5)
    assert first is second
    assert memory.bytes_on(Tier.DEVICE) == 25
    assert memory.size(b"a") == memory.size(b"b") == 15
    load(memory, "c", uc=15)
    assert memory.held == (b"b", b"c")
    load(memory, "d", ud=20)
    assert memory.held == (b"d",)
    assert memory.bytes_on(Tier.DEVICE) == 20


def test_what_is_in_use_stays_and_the_refusal_has_its_numbers() -> None:
    memory = residency(20, in_use=lambda: [b"a"])
    load(memory, "a", ua=15)
    with pytest.raises(RefusedError, match=r"10 bytes.*19 of 20") as refusal:
        load(memory, "b", vae=4, ub=10)
    assert refusal.value.code is FailCode.OUT_OF_MEMORY
    assert memory.held == (b"a",)
    assert memory.bytes_on(Tier.DEVICE) == 15, "no part of the refused model is left"


def test_a_model_that_fails_to_load_leaves_nothing_behind() -> None:
    memory = residency(20)

    def broken(keep: Any) -> Any:
        keep("vae", 5, Module)
        raise ValueError("bad weights")

    with pytest.raises(ValueError, match="bad weights"):
        memory.load(b"a", broken)
    assert memory.held == ()
    assert memory.bytes_on(Tier.DEVICE) == 0


def test_what_leaves_the_card_waits_in_memory_and_comes_back_whole() -> None:
    memory = residency(20, spare=20)
    [ua, vae] = load(memory, "a", ua=10, vae=5)
    load(memory, "b", ub=15, vae=5)
    assert memory.held == (b"a", b"b")
    assert (ua.tier, vae.tier) == (Tier.SPARE, Tier.DEVICE)
    assert memory.use(b"a") == [ua, vae]
    assert (ua.tier, vae.tier) == (Tier.DEVICE, Tier.DEVICE)
    assert memory.bytes_on(Tier.SPARE) == 15, "b's denoiser made room"
    load(memory, "c", uc=20)
    assert memory.held == (b"a", b"c"), "spare memory was too small for both, and b was the longest unused"


class Market(RuleBasedStateMachine):
    """Models that share parts come, are used and go, some of them in use, under both budgets."""

    SIZES = {**{f"u{n}": 7 + n for n in range(5)}, "text": 3, "vae": 4, "vae2": 5}  # noqa: RUF012
    MODELS = {bytes([n]): (f"u{n}", "text", "vae" if n % 2 else "vae2") for n in range(5)}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.busy: set[bytes] = set()
        self.memory = residency(33, 21, lambda: self.busy)

    @rule(digest=st.sampled_from(sorted(MODELS)))
    def load(self, digest: bytes) -> None:
        before = set(self.busy)
        try:
            if self.memory.use(digest) is None:
                parts = self.MODELS[digest]
                self.memory.load(digest, lambda keep: [keep(name, self.SIZES[name], Module) for name in parts])
        except RefusedError:
            assert before, "with nothing in use there is room for any of them"
        else:
            assert self.memory.held[-1] == digest
            assert all(module.tier is Tier.DEVICE for module in self.memory.use(digest) or [None])

    @precondition(lambda self: self.memory.held)
    @rule(data=st.data())
    def begin(self, data: Any) -> None:
        digest = data.draw(st.sampled_from(self.memory.held))
        try:
            self.memory.use(digest)
        except RefusedError:
            return
        self.busy.add(digest)

    @rule()
    def end(self) -> None:
        if self.busy:
            self.busy.pop()

    @rule()
    def drop(self) -> None:
        self.memory.drop()

    @invariant()
    def holds(self) -> None:
        assert self.memory.bytes_on(Tier.DEVICE) <= 33
        assert self.memory.bytes_on(Tier.SPARE) <= 21
        assert self.busy <= set(self.memory.held)
        for digest in self.busy:
            assert all(module.tier is Tier.DEVICE for module in self.memory.use(digest) or [])
        named = {name for digest in self.memory.held for name in self.MODELS[digest]}
        held = sum(self.SIZES[name] for name in named)
        assert held == self.memory.bytes_on(Tier.DEVICE) + self.memory.bytes_on(Tier.SPARE), "nothing lies about"


TestMarket = Market.TestCase
TestMarket.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
