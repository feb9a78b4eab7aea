"""`init` and `doctor`: each thing that can be wrong is found, named, and comes with what to do about it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpufair.protocol.edge import keys
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.edge.sqlite import open_database
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.errors import LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Role
from gpufair.provider import config, doctor
from gpufair.provider.cli.app import app
from gpufair.provider.cli.common import Exit
from gpufair.provider.config import Config
from gpufair.provider.daemon import MIGRATIONS
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.office import DirectoryDesk
from gpufair.provider.directory.store import DirectoryStore
from gpufair.provider.doctor import Check
from gpufair.provider.home import Home
from gpufair.provider.jobs.store import TABLES
from gpufair.provider.rpc.server import serve
from gpufair.provider.sales.offers import Broadcasts

STRANGER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


@dataclass
class Place:
    """An initialised home, and its examination."""

    home: Home
    config: Config

    def found(self, **sections: dict[str, Any]) -> dict[str, Check]:
        """What doctor finds, some keys of the configuration being changed."""
        changed = {name: replace(getattr(self.config, name), **values) for name, values in sections.items()}
        settings, identity = replace(self.config, **changed), keys.load(self.home.keys)
        return {check.name: check for check in asyncio.run(doctor.examine(self.home, settings, identity))}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    done = gpufaird("init", "--home", str(tmp_path / "n"), "--listen", "127.0.0.1:7799", "--runtime", "process")
    assert done.exit_code == 0, done.output
    home = Home(tmp_path / "n")
    return Place(home, config.load(home.config))


def gpufaird(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def bad(check: Check, *words: str) -> None:
    assert not check.ok, check
    assert check.fix, "it says what to do"
    assert all(word in check.found for word in words), check.found


# --- init -------------------------------------------------------------------------------------------------------------


def test_a_newcomer_is_well(place: Place) -> None:
    found = place.found()
    assert set(found) == {"port", "disk", "clock", "engine", "machine", "models", "ledger"}
    assert all(check.ok for check in found.values()), found
    assert "isolation none" in found["engine"].found
    assert "strangers refuse it" in found["ledger"].found
    done = gpufaird("doctor", "--home", str(place.home.root), "--json")
    assert (done.exit_code, json.loads(done.output)["ok"]) == (0, True)


def test_init_twice_changes_nothing(place: Place) -> None:
    before = place.home.config.read_bytes()
    done = gpufaird("init", "--home", str(place.home.root))
    assert isinstance(done.exception, LocalError)
    assert "is there already" in str(done.exception)
    assert place.home.config.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ("--listen", "nowhere"), ("--role", "king"), ("--price", "-3"), ("--runtime", "podman"),
        ("--ledger", "host:1"), ("--ledger", "did:key:zz@host:1"), ("--announce", "0.0.0.0:1"), ("--peer", "\x1b[31m"),
        ("--listen", "127.0.0.1:0"),
    ],
)  # fmt: skip
def test_init_with_nonsense_leaves_no_configuration(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = gpufaird("init", "--home", str(tmp_path / "n"), *words)
    assert isinstance(done.exception, LocalError), done.output
    assert not (tmp_path / "n" / "config.toml").exists()
    assert done.exception.what.startswith(f"{words[0]} "), "the option is named, not a line of a file that is not there"
    # And the next try, without it, works with the same identity.
    assert gpufaird("init", "--home", str(tmp_path / "n"), "--json").exit_code == 0


def test_a_ledger_needs_no_price_and_no_model(tmp_path: Path) -> None:
    done = gpufaird("init", "--home", str(tmp_path / "n"), "--role", "ledger", "--json")
    assert json.loads(done.output)["model"] == ""
    home = Home(tmp_path / "n")
    found = Place(home, config.load(home.config)).found()
    assert set(found) == {"port", "disk", "clock"}


def test_the_help_shows_a_did_as_it_is_written() -> None:
    assert "did:key:…@host:port" in gpufaird("init", "--help").output
    assert gpufaird("--version").output.startswith("gpufaird ")


def test_a_command_before_init_names_init(tmp_path: Path) -> None:
    done = gpufaird("status", "--home", str(tmp_path))
    assert isinstance(done.exception, LocalError)
    assert "gpufaird init" in done.exception.hint


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken(place: Place) -> None:
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        port = taker.getsockname()[1]
        bad(place.found(node={"listen": f"127.0.0.1:{port}"})["port"], f"127.0.0.1:{port}")
        bad(place.found(node={"listen": "203.0.113.9:7700"})["port"], "203.0.113.9")
        done = gpufaird("doctor", "--home", str(place.home.root))
        assert done.exit_code == 0
        place.home.config.write_text(place.home.config.read_text().replace("127.0.0.1:7799", f"127.0.0.1:{port}", 1))
        done = gpufaird("doctor", "--home", str(place.home.root))
        assert done.exit_code == Exit.UNSOUND
        assert "BAD  port" in done.output


def test_its_own_node_does_not_count_as_a_taker(place: Place) -> None:
    with place.home.take():
        assert "the node is running" in place.found()["port"].found
        assert "all is well: the node is running" in gpufaird("doctor", "--home", str(place.home.root)).output
    assert "all is well: `gpufaird up`" in gpufaird("doctor", "--home", str(place.home.root)).output
    place.home.socket.touch()  # a crash left it: that says nothing
    assert "is free" in place.found()["port"].found


def test_no_room(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_MIN", 10**18)
    bad(place.found()["disk"], "MiB free")


def test_no_models(place: Place) -> None:
    assert gpufaird("models", "remove", "demo", "--home", str(place.home.root)).exit_code == 0
    bad(place.found()["models"], "nothing to sell")


def test_lists_that_let_nothing_be_sold(place: Place) -> None:
    for lists in ({"allow": ("licence:mit",)}, {"refuse": ("demo",)}, {"refuse": ("licence:apache-2.0",)}):
        bad(place.found(models=lists)["models"], "let none of them be sold")
    assert place.found(models={"allow": ("licence:Apache-2.0",)})["models"].found == "demo"


def test_more_than_the_machine_has(place: Place) -> None:
    bad(place.found(workers={"gpus": ("GPU-none",)})["machine"], "missing GPU-none")
    bad(place.found(workers={"memory_mib": 16_000_000})["machine"], "the workers may take")


def test_arithmetic_that_this_machine_is_bad_at(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = place.found(workers={"dtype": "float16"})["machine"]
    assert slow.ok
    assert "bfloat16" in slow.fix
    assert not place.found(workers={"dtype": "bfloat16"})["machine"].fix
    assert "compiler" not in place.found()
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/g++" if name == "g++" else None)
    assert place.found(workers={"compile": True})["compiler"].ok
    monkeypatch.setattr("shutil.which", lambda _name: None)
    bad(place.found(workers={"compile": True})["compiler"], "`compile` is set")


def test_an_engine_that_is_not_there(place: Place) -> None:
    gone = {"docker_host": "unix:///nonexistent/docker.sock", "image": f"sha256:{'0' * 64}"}
    bad(place.found(workers={"runtime": "docker", **gone})["engine"])
    bad(place.found(workers={"runtime": "docker", "gvisor": True, **gone})["engine"])
    bad(place.found(workers={"runtime": "auto", **gone})["engine"])  # who names an image wants containers
    auto = place.found(workers={"runtime": "auto", **gone, "image": ""})["engine"]
    assert auto.ok
    assert "isolation none" in auto.found


def test_ledgers_that_can_not_be_used(place: Place) -> None:
    own = place.config.ledger.accepted[0]
    bad(place.found(node={"roles": ("provider",)})["ledger"], "this node's own")
    bad(place.found(ledger={"accepted": (f"{STRANGER}@127.0.0.1:1",)})["ledger"], "127.0.0.1:1")
    assert place.found(ledger={"accepted": (own,)})["ledger"].ok

    async def another() -> list[Check]:
        async with peer(place.home.root / "p", 0) as (address, its_did):
            told = tuple(f"{did}@{address}" for did in (STRANGER, its_did))
            settings = replace(place.config, ledger=config.LedgerConfig(told))
            checks = await doctor.examine(place.home, settings, keys.load(place.home.keys))
            return [check for check in checks if check.name == "ledger"]

    stranger, no_ledger = asyncio.run(another())
    bad(stranger, "where 6MkhaXgBZDvo… was expected")
    bad(no_ledger, "keeps no ledger")


@pytest.mark.parametrize(
    ("ahead_s", "ok"), [(0, True), (-240, True), (90, False), (600, False), (-3600, False)]
)  # fmt: skip
def test_a_clock_that_is_wrong_shows_at_a_peer(place: Place, ahead_s: int, ok: bool) -> None:
    async def look() -> Check:
        async with peer(place.home.root / "p", ahead_s * 1000) as (address, _):
            settings = replace(place.config, node=replace(place.config.node, peers=(address,)))
            checks = await doctor.examine(place.home, settings, keys.load(place.home.keys))
            return next(check for check in checks if check.name == "clock")

    check = asyncio.run(look())
    assert check.ok is ok, check
    assert ok or "timedatectl" in check.fix


class Ahead:
    """A clock that is ahead of ours (or behind)."""

    def __init__(self, by_ms: int) -> None:
        self.by_ms = by_ms

    def now_ms(self) -> int:
        return SystemClock().now_ms() + self.by_ms


@asynccontextmanager
async def peer(folder: Path, ahead_ms: int) -> AsyncIterator[tuple[str, str]]:
    """Another node, with another clock: its address and did."""
    identity, clock = keys.create(folder), Ahead(ahead_ms)
    store = RowStore(open_database(None, MIGRATIONS), TABLES)
    cards = Broadcasts(
        Desk(identity.signer, clock, SystemRandom()), store, roles=(Role.DIRECTORY,), endpoints=lambda: (address,),
        certificate=identity.tls.certificate, sealing=SealingKeys(folder), software="test",
    )  # fmt: skip
    desk = DirectoryDesk(Directory(DirectoryStore(None), clock), lambda: cards.record().envelope)
    server = serve(listen="127.0.0.1:0", tls_identity=identity.tls, directory=desk)
    address = f"127.0.0.1:{server.port}"
    await server.start()
    try:
        yield address, identity.did
    finally:
        await server.stop(0)
        desk.close()
        store.close()
