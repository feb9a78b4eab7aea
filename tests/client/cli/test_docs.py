"""docs/cli.md is held against the commands: every summary, every exit code; its JSON examples against real answers are
tests/e2e/test_cli.py's part."""

from __future__ import annotations

import json
import re
from pathlib import Path

import typer.main

from gpufair.client.cli.app import app
from gpufair.client.cli.stage import Exit
from gpufair.client.config import Config

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cli.md").read_text()


def commands() -> dict[str, str]:
    root = typer.main.get_command(app)
    found = {}
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        for path, leaf in {f"{name} {k}": v for k, v in inner.items()}.items() if inner else [(name, command)]:
            found[path] = " ".join((leaf.help or "").split())
    return found


def test_every_command_is_in_the_table_with_its_own_words() -> None:
    rows = dict(re.findall(r"^\| `gpufair ([a-z ]+[a-z])[A-Z \[\]]*` \| (.*) \|$", PAGE, flags=re.MULTILINE))
    assert rows == commands()


def test_every_exit_code_is_documented() -> None:
    rows = {int(code): name for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, flags=re.MULTILINE)}
    assert rows == {int(code): code.name.lower() for code in Exit}


def test_every_setting_is_documented() -> None:
    section = PAGE.split("### config.toml")[1].split("###")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))
    assert rows == set(Config.__dataclass_fields__)


def test_the_examples_are_json_of_one_schema_each() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    schemas = [json.loads(block)["schema"] for block in blocks]
    assert len(set(schemas)) == len(schemas) > 10
