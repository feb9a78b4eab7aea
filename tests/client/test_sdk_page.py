"""docs/sdk.md is true: each of its examples runs, in the order of the page, at whole nodes; its tables are whole."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import PRICE, START, Person, World

from gpufair.client import Client, SyncClient, failures
from gpufair.protocol.edge import keys

PAGE = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()
CHANGED = 10
"""To change a picture: 12 guided steps of 20 are 6, decoding and encoding 1 each; the minimum is 10."""
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def script(example: str) -> str:
    if "await" not in example and "async" not in example:
        return example
    return f"import asyncio\nasync def main():\n{textwrap.indent(example, '    ')}\nasyncio.run(main())\n"


def test_every_example_runs(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        person = await Person.at(w, tmp_path / "person")
        variables = {**os.environ, "GPUFAIR_HOME": str(person.home.folder), "OMP_NUM_THREADS": "1"}
        said = []
        for example in EXAMPLES:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script(example), env=variables, cwd=person.folder, stdout=PIPE, stderr=PIPE
            )
            out, err = await process.communicate()
            assert process.returncode == 0, f"{example}\n{err.decode()}"
            said.append(out.decode())
        assert f"{2000 - 10 * PRICE} micro-credits are left" in "".join(said)
        assert person.pictures() == sorted(["fox.png", *(f"fox-{number}.png" for number in range(10))])
        assert await w.funds(person.did) == (START - (1 + 2 + 10 + 10 + 12 + 1) * PRICE - CHANGED, 0)

    world(story)


def test_the_example_of_errors_catches_what_is_out_of_bounds(tmp_path: Path) -> None:
    example = next(one for one in EXAMPLES if "PurchaseError" in one)
    wrong = example.replace('client.run("a fox")', 'client.run("a fox", steps=5000)')
    assert wrong != example
    keys.create(tmp_path / "keys")
    variables = {**os.environ, "GPUFAIR_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", wrong], env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "steps is 5000: it must be 1 to 500"), done.stderr


def test_every_call_is_in_the_table() -> None:
    rows = set(re.findall(r"^\| `(?:await )?(?:client|Client)\.(\w+)", PAGE, flags=re.MULTILINE))
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert rows == public
    assert public == {name for name in vars(SyncClient) if not name.startswith("_")} | {"did"}


def test_every_failure_is_in_the_table() -> None:
    rows = set(re.findall(r"^\| `(\w+Error)`", PAGE, flags=re.MULTILINE)) - {"LocalError"}
    kinds = [kind for kind in vars(failures).values() if isinstance(kind, type)]
    assert rows == {kind.__name__ for kind in kinds if issubclass(kind, failures.PurchaseError)} - {"PurchaseError"}


@pytest.mark.parametrize("name", ["Client", "Lease", "Picture", "SyncClient", "SyncLease"])
def test_what_the_page_imports_is_where_it_says(name: str) -> None:
    from gpufair import client

    assert name in client.__all__
    assert getattr(client, name).__name__ == name
