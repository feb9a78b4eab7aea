"""Ctrl-C in a real `gpufair run`: what came is on disk, the rest is cancelled and settled; a second leaves at once.

At the question whether to buy, the first one leaves at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whole_nodes import START, Person, World

from gpufair.client.pictures.verify import verify
from gpufair.protocol.messages import Answer, Closing, Down, KeyReveal

COMMAND = ("run", "many", "-n", "16", "--steps", "100", "--yes", "--json", "-o", "many.png")


async def interrupted(process: Process, within_s: float) -> dict[str, Any]:
    async with asyncio.timeout(within_s):
        out, err = await process.communicate()
    assert (process.returncode, out) == (130, b""), err
    error: dict[str, Any] = json.loads(err)["error"]
    assert error["kind"] == "interrupted"
    return error


def on_keys(w: World, keys_sent: int, then: Callable[[Down], Down | None] = lambda down: down) -> asyncio.Event:
    """Set when so many keys have gone out; from then on `then` decides about what the provider says."""
    reached, seen = asyncio.Event(), 0

    def pass_on(message: Down) -> Down | None:
        nonlocal seen
        if reached.is_set():
            return then(message)
        seen += isinstance(message, KeyReveal)
        if seen == keys_sent:
            reached.set()
        return message

    w.on_send(pass_on)
    return reached


def test_the_first_ends_it_in_order(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        person = await Person.at(w, tmp_path / "person")
        some = on_keys(w, 2)
        process = await person.runs(*COMMAND)
        await some.wait()
        process.send_signal(signal.SIGINT)
        error = await interrupted(process, within_s=14)
        bought = person.bought()
        assert bought is not None
        assert (bought.job.state, bought.is_settled) == ("cancelled", True)
        opened = len(bought.opened)
        assert 2 <= opened < 16
        assert person.pictures() == sorted(f"many-{number + 1}.png" for number in range(opened))
        for name in person.pictures():
            assert verify((person.folder / name).read_bytes()).provider == w.provider.keys.did
        assert error["job"] == bought.job.id.hex()
        assert f"{opened} of 16 pictures are here" in error["what"]
        assert bought.spent == sum(picture.amount for picture in bought.opened)
        assert await w.funds(person.did) == (START - bought.spent, 0), "nothing is held any more"

    world(story)


def test_the_second_leaves_at_once(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        person = await Person.at(w, tmp_path / "person")
        # It never confirms the end, so that the orderly one would take its whole time.
        some = on_keys(w, 2, lambda down: None if isinstance(down, Answer | Closing) else down)
        process = await person.runs(*COMMAND)
        await some.wait()
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.5)
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        error = await interrupted(process, within_s=5)
        bought = person.bought()
        assert bought is not None
        assert len(person.pictures()) == len(bought.opened) >= 1
        assert f"gpufair fetch {error['job'][:12]}" in error["hint"]

    world(story)


def test_before_there_is_a_job_the_hold_comes_back(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        person = await Person.at(w, tmp_path / "person")
        market = w.provider.seller.market  # type: ignore[union-attr]
        honest, reached = market.fund, asyncio.Event()

        async def slow(hold: Any) -> None:
            if not reached.is_set():
                reached.set()
                await asyncio.sleep(60)
            await honest(hold)

        market.fund = slow  # type: ignore[method-assign]
        process = await person.runs(*COMMAND)
        await reached.wait()
        assert (await w.funds(person.did))[1] > 0
        process.send_signal(signal.SIGTERM)
        error = await interrupted(process, within_s=14)
        assert error["job"] is None
        assert "nothing was spent" in error["hint"]
        assert person.bought() is None
        assert await w.funds(person.did) == (START, 0)

    world(story)


def test_at_the_question_it_leaves_at_once(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        person = await Person.at(w, tmp_path / "person")
        ours, theirs = pty.openpty()
        loop, seen, asked = asyncio.get_running_loop(), bytearray(), asyncio.Event()

        def read() -> None:
            seen.extend(os.read(ours, 4096))
            if b"Buy it?" in seen:
                asked.set()

        loop.add_reader(ours, read)
        try:
            process = await person.runs("run", "a fox", terminal=theirs)
            await asked.wait()
            await asyncio.sleep(0.3)  # the question is printed before its answer is waited for
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(5):
                assert await process.wait() == 130
        finally:
            loop.remove_reader(ours)
            os.close(ours)
            os.close(theirs)
        assert person.bought() is None
        assert person.pictures() == []
        assert await w.funds(person.did) == (START, 0)

    world(story)
