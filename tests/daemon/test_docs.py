"""docs/gpufaird.md is held against the commands: every summary, every exit code, every JSON example against a real
answer, of a node that runs with all three roles."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.errors import FairError, Fault, LocalError, PeerError
from gpufair.provider.cli.app import app
from gpufair.provider.cli.common import Exit
from gpufair.provider.cli.endings import exit_code
from gpufair.provider.control import NodeRefusedError, NoNodeError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gpufaird.md").read_text()
BIN = Path(sys.executable).parent
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def commands() -> dict[str, str]:
    """Every command with its arguments as the page should name it, and its own words."""

    def walk(group: Any, before: str) -> Iterator[tuple[str, str]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, f"{before}{name} ")
                continue
            arguments = [one for one in command.params if one.param_type_name == "argument"]
            shown = [one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments]
            yield " ".join([before + name, *shown]), " ".join(command.help.split())

    return dict(walk(typer.main.get_command(app), ""))


def examples() -> dict[str, Any]:
    """The JSON examples by the commands that they belong to."""
    found = re.findall(r"^((?:`[a-z ]+`(?:, )?)+)[^\n]*:\n\n```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return {name: json.loads(block) for names, block in found for name in re.findall(r"`([a-z ]+)`", names)}


def shape(value: Any) -> Any:
    """An answer without its values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value[:1]] if isinstance(value, list) else type(value).__name__


def test_every_command_is_in_the_table_with_its_own_words() -> None:
    rows = dict(re.findall(r"^\| `gpufaird ([a-zA-Z \[\]]+)` \| (.*) \|$", PAGE, flags=re.MULTILINE))
    assert rows == commands()


def test_every_exit_code_is_documented() -> None:
    rows = {int(code): name for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, flags=re.MULTILINE)}
    assert rows == {int(code): code.name.lower() for code in Exit}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LocalError(Fault.UNKNOWN, "x"), Exit.LOCAL),
        (LocalError(Fault.MALFORMED, "x"), Exit.USAGE),
        (NoNodeError(Fault.UNAVAILABLE, "x"), Exit.NO_NODE),
        (NodeRefusedError(Fault.NOT_ALLOWED, "x"), Exit.REFUSED),
        (RemoteRefusal(Fault.MALFORMED, "x"), Exit.REFUSED),
        (PeerUnreachable("x"), Exit.UNREACHABLE),
        (PeerError(Fault.MALFORMED, "x"), Exit.UNSOUND),
    ],
)
def test_each_kind_of_failure_has_its_code(error: FairError, code: Exit) -> None:
    assert exit_code(error) is code


def nulled(home: Path) -> Path:
    """The folder, its workers doing no work."""
    config = home / "config.toml"
    config.write_text(config.read_text().replace("concurrent_jobs = 1", "concurrent_jobs = 1\nnull = true"))
    return home


@contextmanager
def running(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node with all three roles that runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gpufaird(home, "init", "--listen", f"127.0.0.1:{port}", "--runtime", "process")
    nulled(home)
    node = subprocess.Popen([str(BIN / "gpufaird"), "up", "--home", str(home)])
    try:
        deadline = time.monotonic() + 60
        while not (home / "control.sock").exists():
            assert node.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield node
    finally:
        if node.poll() is None:
            node.send_signal(signal.SIGTERM)
        assert node.wait(30) == Exit.OK


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a node that runs."""
    home = tmp_path_factory.mktemp("documented") / "n"
    with running(home):
        yield home


def gpufaird(home: Path, *words: str, code: Exit = Exit.OK) -> Any:
    """A command's answer, and nothing else on stdout."""
    done = subprocess.run(
        [str(BIN / "gpufaird"), *words, "--home", str(home), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_every_answer_is_as_documented(home: Path, tmp_path: Path) -> None:
    documented = examples()
    answers = {
        "init": gpufaird(tmp_path / "other", "init"),
        "doctor": gpufaird(home, "doctor"),
        "status": gpufaird(home, "status"),
        "price": gpufaird(home, "price"),
        "pause": gpufaird(home, "pause"),
        "reclaim": gpufaird(home, "reclaim"),
        "resume": gpufaird(home, "resume"),
        "models list": gpufaird(home, "models", "list"),
        "models verify": gpufaird(home, "models", "verify", "demo"),
        "models show": gpufaird(home, "models", "show", "demo"),
        "models export": gpufaird(home, "models", "export", "demo", str(tmp_path / "demo.tar")),
        "models remove": gpufaird(tmp_path / "other", "models", "remove", "demo"),
        "models add": gpufaird(tmp_path / "other", "models", "add", str(ROOT / "provider" / "models" / "demo")),
        "ledger issue": gpufaird(home, "ledger", "issue", DID, "1", "--reference", "a"),
        "ledger redeem": gpufaird(home, "ledger", "redeem", DID, "0.25", "--reference", "b"),
        "ledger balance": gpufaird(home, "ledger", "balance", DID),
        "ledger statement": gpufaird(home, "ledger", "statement", DID),
        "ledger audit": gpufaird(home, "ledger", "audit"),
        "bench": gpufaird(nulled(tmp_path / "other"), "bench"),
        "backup": gpufaird(home, "backup", str(tmp_path / "copies")),
        "restore": gpufaird(tmp_path / "other", "restore", str(tmp_path / "copies")),
    }
    assert answers["ledger audit"].pop("findings") == documented["ledger audit"].pop("findings")[:0]
    assert answers["status"].pop("peers") == documented["status"].pop("peers")[:0]
    for others in ("learned", "published"):
        assert answers["status"]["directory"].pop(others) == documented["status"]["directory"].pop(others)[:0]
    assert {name: shape(one) for name, one in answers.items()} == {name: shape(documented[name]) for name in answers}
    every = {re.sub(r" [A-Z\[].*", "", name) for name in commands()}
    assert every - set(answers) == {"up", "drain", "stop"}


def test_failures_are_as_documented(home: Path, tmp_path: Path) -> None:
    failure = json.loads(re.search(r'^```json\n(\{"error".*?)^```', PAGE, re.MULTILINE | re.DOTALL)[1])  # type: ignore[index]
    gpufaird(tmp_path, "init", "--role", "ledger", "--listen", "127.0.0.1:0")
    assert gpufaird(tmp_path, "status", code=Exit.NO_NODE) == failure
    gpufaird(tmp_path / "none", "status", code=Exit.LOCAL)
    gpufaird(home, "ledger", "issue", "nobody", "1", "--reference", "c", code=Exit.USAGE)
    gpufaird(home, "ledger", "redeem", DID, "1000", "--reference", "d", code=Exit.REFUSED)


@pytest.mark.parametrize("command", ["drain", "stop"])
def test_the_last_commands_are_as_documented(tmp_path: Path, command: str) -> None:
    with running(tmp_path / "n") as node:
        assert gpufaird(tmp_path / "n", command) == examples()[command]
        assert node.wait(30) == Exit.OK
