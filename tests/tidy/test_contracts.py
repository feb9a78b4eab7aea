"""The import contracts hold, and each can break: a forbidden import planted in a copy of the tree is reported.

All plants go into one copy, because building the graph is most of the work. A plant is `importer -> imported`; a room
that is still to be written is made up in the copy.
"""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / ".importlinter"
PLANTS = {
    "sides": (
        "gpufair.protocol.units -> gpufair.client.planted",
        "gpufair.protocol.limits -> gpufair.provider.planted",
        "gpufair.client.planted -> gpufair.provider.hardware.planted",
        "gpufair.provider.jobs.planted -> gpufair.client.planted",
    ),
    "pure": ("gpufair.protocol.payment -> gpufair.protocol.edge.planted",),
    "rooms": (
        "gpufair.provider.sales.planted -> gpufair.provider.rpc.planted",
        "gpufair.provider.jobs.planted -> gpufair.provider.sales.planted",
        "gpufair.provider.workers.planted -> gpufair.provider.jobs.planted",
        "gpufair.provider.models.planted -> gpufair.provider.workers.planted",
        "gpufair.provider.hardware.planted -> gpufair.provider.models.planted",
        "gpufair.provider.ledger.planted -> gpufair.provider.directory.planted",
        "gpufair.provider.directory.planted -> gpufair.provider.models.planted",
        "gpufair.provider.inference.planted -> gpufair.provider.hardware.planted",
    ),
    "buying": (
        "gpufair.client.session.planted -> gpufair.client.market.planted",
        "gpufair.client.market.planted -> gpufair.client.session.planted",
        "gpufair.client.wallet.planted -> gpufair.client.session.planted",
        "gpufair.client.pictures.planted -> gpufair.client.buyer",
    ),
    "ledger-by-wire": (
        "gpufair.provider.sales.planted -> gpufair.provider.ledger.planted",
        "gpufair.provider.jobs.planted -> gpufair.provider.ledger.planted",
    ),
    "worker-alone": ("gpufair.provider.workers.planted -> gpufair.provider.inference.planted",),
    "worker-bare": (
        "gpufair.provider.inference.planted -> gpufair.protocol.edge.planted",
        "gpufair.provider.inference.planted -> grpc",
    ),
    "generated": (
        "gpufair.protocol.messages.planted -> gpufair.protocol.v1.documents_pb2",
        "gpufair.provider.jobs.planted -> gpufair.protocol.v1.frames_pb2",
        "gpufair.provider.inference.planted -> gpufair.protocol.v1.frames_pb2",
        "gpufair.client.planted -> gpufair.protocol.v1.services_pb2",
    ),
    "torch": (
        "gpufair.provider.models.planted -> torch",
        "gpufair.client.planted -> diffusers",
        "gpufair.provider.workers.planted -> transformers",
    ),
    "docker": ("gpufair.provider.workers.planted -> docker", "gpufair.provider.hardware.planted -> docker"),
    "databases": (
        "gpufair.provider.jobs.planted -> sqlalchemy",
        "gpufair.provider.rpc.planted -> sqlalchemy",
        "gpufair.client.planted -> alembic",
    ),
    "terminal": ("gpufair.provider.jobs.planted -> typer", "gpufair.client.planted -> rich"),
    "grpc": ("gpufair.client.planted -> grpc", "gpufair.provider.jobs.planted -> grpc"),
}


def contracts() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser()
    parsed.read(CONTRACTS)
    return parsed


def named(contract: str) -> str:
    return contracts()[f"importlinter:contract:{contract}"]["name"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The three rooms as they are, below a folder of their own."""
    for room in ("protocol", "provider", "client"):
        ignored = shutil.ignore_patterns("__pycache__", "demo", "*.proto", "*.pyi")
        shutil.copytree(ROOT / room, tmp_path / "gpufair" / room, ignore=ignored)
    return tmp_path


def lint(root: Path) -> tuple[int, str]:
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache", "--config", str(CONTRACTS)],
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "COLUMNS": "400", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def plant(root: Path, importer: str, imported: str) -> None:
    for module in (importer, imported):
        if module.startswith("gpufair."):
            path = file_of(root, module)
            path.parent.mkdir(exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.touch()
    with file_of(root, importer).open("a") as file:
        file.write(f"\nimport {imported}\n")


def file_of(root: Path, module: str) -> Path:
    return root / (module.replace(".", "/") + ".py")


def test_the_contracts_hold(copy: Path) -> None:
    code, told = lint(copy)
    assert code == 0, (
        f"\n{told}\nMove the import, or move the code; a wall is moved in .importlinter and ARCHITECTURE.md"
    )
    assert told.count(" KEPT") == len(PLANTS)


def test_every_contract_can_break(copy: Path) -> None:
    for plants in PLANTS.values():
        for line in plants:
            plant(copy, *line.split(" -> "))
    code, told = lint(copy)
    assert code == 1, told
    for contract, plants in PLANTS.items():
        assert f"{named(contract)} BROKEN" in told, told
        report = re.split(r"\n[^\n]+\n-{9,}\n", told.split(f"\n{named(contract)}\n---")[1])[0]
        for line in plants:
            assert re.search(rf"{re.escape(line)} \(l\.", report), f"{contract} has let {line} pass\n{report}"


def test_a_new_room_must_be_given_its_place(copy: Path) -> None:
    plant(copy, "gpufair.provider.attic.planted", "gpufair.protocol.units")
    code, told = lint(copy)
    assert code == 1
    assert "gpufair.provider.attic" in told


def test_every_contract_is_planted() -> None:
    sections = [section.rpartition(":")[2] for section in contracts().sections() if ":contract:" in section]
    assert sorted(sections) == sorted(PLANTS)


def test_no_module_that_exists_is_commented_out() -> None:
    waiting = re.findall(r"^ +# (gpufair\.\S+)$", CONTRACTS.read_text(), flags=re.MULTILINE)
    here = [m for m in waiting if list(ROOT.glob(f"{m.removeprefix('gpufair.').replace('.', '/')}*"))]
    assert not here, f"written by now: uncomment {here} in .importlinter"
