"""The SDK's options: what can't be meant is a LocalError in plain words, before anybody is asked or paid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from whole_nodes import START, World

from gpufair.client import Client, SyncClient
from gpufair.client.wishing import wish
from gpufair.protocol.edge import keys
from gpufair.protocol.errors import Fault, LocalError


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"steps": "20"}, "steps is '20': it must be a whole number"),
        ({"steps": True}, "steps is True: it must be a whole number"),
        ({"seed": 1.5}, "seed is 1.5: it must be a whole number"),
        ({"count": None}, "count is None: it must be a whole number"),
        ({"size": "64x64"}, "size is '64x64': it must be (width, height)"),
        ({"size": (64, "64")}, "size is (64, '64'): it must be (width, height)"),
        ({"size": (64,)}, "size is (64,): it must be (width, height)"),
        ({"max_price": 0.1}, "max_price is 0.1: it must be a whole number of micro-credits"),
        ({"model": 7}, "model is 7: it must be text"),
        ({"negative": None}, "negative is None: it must be text"),
        ({"trust_provider_ledger": "no"}, "trust_provider_ledger is 'no': it must be True or False"),
        ({"stepz": 20}, "there is no option 'stepz'"),
        ({"steps": 5000}, "steps is 5000: it must be 1 to 500"),
        ({"precision": "double"}, "there is no precision 'double'"),
        ({"precision": 32}, "precision is 32: it must be text"),
        ({"strength_milli": 0.5}, "strength_milli is 0.5: it must be a whole number"),
        ({"strength_milli": 500}, "strength says how much of an image is made anew, and there is no image"),
        ({"mask": "mask.png"}, "a mask is for an image, and there is none"),
        ({"outpaint": (1, 2, 3)}, "outpaint is (1, 2, 3): it must be (left, top, right, bottom) in pixels"),
        ({"loras": [("pixel",)]}, "a LoRA is ('pixel',): it must be a name, or (name, weight in thousandths)"),
        ({"loras": [("pixel", 9000)]}, "weight of 'pixel' in thousandths is 9000: it must be -8000 to 8000"),
        ({"image": b"no picture"}, "the image can't be read: it is no PNG, JPEG or WebP"),
    ],
)
def test_what_cannot_be_meant_is_said_in_plain_words(options: dict[str, Any], what: str) -> None:
    with pytest.raises(LocalError) as caught:
        wish("a fox", **options)
    assert caught.value.what.startswith(what)
    assert caught.value.fault is Fault.MALFORMED


def test_an_unknown_option_is_told_which_there_are() -> None:
    with pytest.raises(LocalError) as caught:
        wish("a fox", stepz=20)
    assert "steps" in caught.value.hint


def test_a_size_may_be_a_list_or_left_out() -> None:
    made: Any = [64, 72]
    assert (wish("a fox", size=made).width, wish("a fox", size=made).height) == (64, 72)
    assert wish("a fox").width is None


def test_run_never_pays_for_pictures_that_it_does_not_hand_out(world: Any) -> None:
    async def story(w: World) -> None:
        client = Client(w.buyer)
        with pytest.raises(LocalError, match="pictures"):
            await client.run("a fox", count=3)
        async with client.lease(budget=1_000) as lease:
            with pytest.raises(LocalError, match="pictures"):
                await lease.run("a fox", count=3)
        async with client.lease(budget=1_000, count=3) as lease:
            with pytest.raises(LocalError, match="pictures"):
                await lease.run("a fox")
        for wrong in ({"budget": 0.1}, {"budget": 1_000, "minutes": "60"}, {"budget": 1_000, "dearest": 1.5}):
            with pytest.raises(LocalError, match="whole number"):
                async with client.lease(**wrong):  # type: ignore[arg-type]
                    pass
        assert client.history() == []
        assert await w.balance() == START

    world(story)


def test_the_same_without_await(tmp_path: Path) -> None:
    keys.create(tmp_path / "keys")
    with SyncClient.open(tmp_path) as client:
        with pytest.raises(LocalError, match="pictures"):
            client.run("a fox", count=3)
        with pytest.raises(LocalError, match="whole number"):
            client.quote("a fox", steps="20")
