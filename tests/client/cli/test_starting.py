"""A command loads what it uses and no more. Nothing is timed: the modules that a real process loaded are looked at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
WORK = {"torch", "diffusers", "transformers", "numpy", "PIL"}
SQL = {"sqlalchemy", "alembic"}
NET = {"grpc", "google.protobuf"}
HEAVY = {*WORK, *SQL, *NET, "docker", "cryptography"}


def loaded(home: Path, command: str, *words: str) -> set[str]:
    """The modules that a command loads, by name."""
    env = {**os.environ, "GPUFAIR_HOME": str(home), "GPUFAIRD_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(BIN / command), *words],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an identity of a buyer; and, beside it, the configuration of a node."""
    home = tmp_path_factory.mktemp("starting")
    env = {**os.environ, "GPUFAIR_HOME": str(home / "buyer"), "GPUFAIRD_HOME": str(home / "node")}
    for command in (["gpufair", "init"], ["gpufaird", "init", "--role", "ledger", "--listen", "127.0.0.1:0"]):
        subprocess.run([str(BIN / command[0]), *command[1:]], env=env, check=True, capture_output=True)
    return home


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("gpufair --help", {*HEAVY, "asyncio", "rich"}),
        ("gpufair --version", {*HEAVY, "asyncio", "rich"}),
        ("gpufair run --help", {*HEAVY, "asyncio", "rich"}),
        ("gpufair id", {*WORK, *SQL, *NET, "docker"}),
        ("gpufair verify no-such.png", {*WORK, *SQL, "grpc", "docker"}),
        ("gpufair history", {*WORK, "alembic", "docker"}),
    ],
)
def test_the_buyers_commands(home: Path, command: str, without: set[str]) -> None:
    found = loaded(home / "buyer", *command.split())
    assert "gpufair.client.cli.app" in found
    assert not found & without


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("gpufaird --help", {*HEAVY, "asyncio", "rich", "gpufair.protocol.messages"}),
        ("gpufaird status", {*HEAVY, "rich", "gpufair.protocol.messages"}),
        ("gpufaird pause", {*HEAVY, "rich", "gpufair.protocol.messages"}),
        ("gpufaird models list", {*HEAVY, "asyncio", "rich"}),
        ("gpufaird ledger balance", {*WORK, *SQL, "docker", "rich"}),
    ],
)
def test_the_owners_commands(home: Path, command: str, without: set[str]) -> None:
    found = loaded(home / "node", *command.split())
    assert "gpufair.provider.cli.app" in found
    assert not found & without


def test_what_is_loaded_is_seen(home: Path) -> None:
    """These tests could pass by seeing nothing."""
    assert {"grpc", "sqlalchemy", "rich.console"} <= loaded(home / "buyer", "gpufair", "history")
