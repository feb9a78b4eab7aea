"""Two real `gpufair run` at one wallet, at the same moment: together they stay within the daily cap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whole_nodes import PRICE, START, Person, World

from gpufair.client.cli.stage import Exit
from gpufair.protocol.units import show


def test_the_cap_has_room_for_one_of_two(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        person = await Person.at(w, tmp_path / "person")
        person.home.config.write_text(f'daily_cap = "{show(PRICE).split()[0]}"\n')
        both = [await person.runs("run", name, "--yes", "--json") for name in ("one", "two")]
        said = [await process.communicate() for process in both]
        assert sorted(process.returncode or 0 for process in both) == [Exit.OK, Exit.FUNDS], said
        error = next(json.loads(err)["error"] for out, err in said if not out)
        assert "daily cap" in error["what"]
        assert len(person.pictures()) == 1
        assert await w.funds(person.did) == (START - PRICE, 0)

    world(story)
