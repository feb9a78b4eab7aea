"""`gpufair` as people type it. ONE RULE: every answer of every command is held against docs/cli.md."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from real_nodes import BIN, Node
from typer.testing import CliRunner

from gpufair.client.cli.app import app
from gpufair.protocol.units import parse_credits

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
EXAMPLES = {
    example["schema"]: example
    for example in map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
}
SAME_AS = {
    "gpufair/fetch/1": "gpufair/show/1",
    "gpufair/cancel/1": "gpufair/show/1",
    "gpufair/restore/1": "gpufair/init/1",
}


def check_documented(answer: Any) -> None:
    """Every field of an answer is in docs/cli.md, and the other way round."""
    schema = answer["schema"]
    if schema == "gpufair/history/1":
        for job in answer["jobs"]:
            check_documented({"schema": "gpufair/show/1", **job})
        return
    example = EXAMPLES[SAME_AS.get(schema, schema)]
    assert not (wrong := differences(answer, example)), f"{schema} and docs/cli.md: {', '.join(wrong)}"


def differences(value: Any, example: Any, name: str = "") -> list[str]:
    """Fields that one has and the other has not, down to where the example leaves off; of lists, in any item."""
    if isinstance(value, dict) and isinstance(example, dict):
        own = [f"+{name}.{key}" for key in value.keys() - example.keys()]
        own += [f"-{name}.{key}" for key in example.keys() - value.keys()]
        return own + [one for key in value.keys() & example.keys()
                      for one in differences(value[key], example[key], f"{name}.{key}")]  # fmt: skip
    if isinstance(value, list) and isinstance(example, list) and example:
        return [one for item in value for one in differences(item, example[0], f"{name}[]")]
    return []


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GPUFAIR")}
    return kept | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100"} | more


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


@dataclass
class Customer:
    """Somebody with a folder, and the command line in it."""

    folder: Path

    @classmethod
    def of(cls, ledger: Node, *providers: Node, folder: Path, credits: str = "5") -> Self:
        """One that knows providers, and has credits at a ledger."""
        customer = cls(folder)
        did = customer.ok("init")["did"]
        for provider in providers:
            customer.ok("peers", "add", f"127.0.0.1:{provider.port}")
        if credits != "0":
            asyncio.run(ledger.issue(did, parse_credits(credits)))
        return customer

    def __call__(self, *args: str, **env: str) -> Answer:
        """The command in this process (starting a Python costs more than most commands); daemons are processes."""
        variables: dict[str, str | None] = {"GPUFAIR_HOME": str(self.folder / "home"), "NO_COLOR": "1", **env}
        with contextlib.chdir(self.folder):
            done = CliRunner(env=variables).invoke(app, list(args))
        return Answer(done.exit_code, done.stdout, done.stderr)

    def ok(self, *args: str, **options: Any) -> Any:
        answer = self(*args, "--json", **options)
        assert answer.code == 0, answer.err + answer.out
        assert answer.out.count("\n") == 1, "one object and nothing else"
        check_documented(answer.json)
        return answer.json

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        variables = environment(GPUFAIR_HOME=str(self.folder / "home"))
        return subprocess.Popen(
            [BIN / "gpufair", *args], env=variables, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


def refused(answer: Answer, code: int, *words: str) -> None:
    assert answer.code == code, answer.out + answer.err
    assert answer.out == ""
    error = answer.error
    check_documented(json.loads(answer.err))
    assert error["code"] == code
    for word in words:
        assert word in f"{error['what']} {error['hint']}", error


def wait_for_picture(customer: Customer) -> str:
    """The job's id as soon as its first picture is locked: then the buyer is in the very middle."""
    wallet = sqlite3.connect(f"file:{customer.folder / 'home' / 'wallet.db'}?mode=ro", uri=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = wallet.execute("SELECT hex(job) FROM deliveries WHERE locked").fetchone()
        if found is not None:
            return str(found[0]).lower()
        time.sleep(0.002)
    raise AssertionError("no picture came")
