"""A real `gpufair fetch` of a job that was left in the middle: files that are there already never stand in its way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from whole_nodes import START, Person, World

from gpufair.client.cli.stage import Exit
from gpufair.client.pictures.verify import verify
from gpufair.protocol.messages import Down, KeyReveal

COUNT = 6
NAMES = [f"lion-{number + 1}.png" for number in range(COUNT)]


async def left_after_two(w: World, person: Person) -> str:
    """A job that its buyer has left with two pictures written and four to come; its id."""
    two, mute, seen = asyncio.Event(), True, 0

    def pass_on(message: Down) -> Down | None:
        nonlocal seen
        if two.is_set() and mute:
            return None
        seen += isinstance(message, KeyReveal)
        if seen == 2:
            two.set()
        return message

    w.on_send(pass_on)
    process = await person.runs("run", "a lion", "-n", str(COUNT), "--steps", "20", "--yes", "--json", "-o", "lion.png")
    await two.wait()
    await asyncio.sleep(0.5)
    process.kill()
    await process.communicate()
    bought = person.bought()
    assert bought is not None
    job = bought.job.id.hex()
    code, said = await fetched(person, job, "--wait", "1")
    assert (code, said["error"]["job"]) == (Exit.UNREACHABLE, job)
    assert person.pictures() == NAMES[:2]
    mute = False
    return job


async def fetched(person: Person, job: str, *options: str) -> tuple[int | None, dict[str, Any]]:
    process = await person.runs("fetch", job, "-o", "lion.png", "--json", *options)
    out, err = await process.communicate()
    return process.returncode, json.loads(out or err)


def test_what_is_written_already_is_done_and_another_file_only_keeps_its_own_picture_back(
    world: Any, tmp_path: Path
) -> None:
    async def story(w: World) -> None:
        person = await Person.at(w, tmp_path / "person")
        job = await left_after_two(w, person)
        (person.folder / NAMES[3]).write_bytes(b"somebody's own lion")

        code, said = await fetched(person, job)
        assert (code, NAMES[3] in said["error"]["what"]) == (Exit.LOCAL, True), said
        assert (person.folder / NAMES[3]).read_bytes() == b"somebody's own lion"
        assert person.pictures() == NAMES
        bought = person.bought()
        assert bought is not None
        assert bought.is_settled
        assert await w.funds(person.did) == (START - bought.spent, 0), "nothing is held any more"

        (person.folder / NAMES[3]).unlink()
        code, said = await fetched(person, job)
        assert code == Exit.OK, said
        assert [picture["file"] for picture in said["pictures"]] == NAMES
        for name in NAMES:
            assert verify((person.folder / name).read_bytes()).provider == w.provider.keys.did
        assert list(person.folder.glob(".*")) == []

    world(story)
