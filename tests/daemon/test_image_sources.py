"""A worker image of other sources is named, by `doctor` and by `up`, with the command that makes a new one."""

from __future__ import annotations

import asyncio
import io
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import docker
from gpufair.protocol.edge import keys
from gpufair.provider import config, doctor
from gpufair.provider.cli.app import app
from gpufair.provider.config import Config
from gpufair.provider.doctor import Check
from gpufair.provider.home import Home
from gpufair.provider.selling import open_runtime
from gpufair.provider.workers import sources

ROOT = Path(__file__).parents[2]
STALE = "other sources than this gpufaird"


@pytest.fixture(scope="module")
def labelled(docker_host: str, worker_image: str) -> Iterator[dict[str, str]]:
    """Images that differ from the worker's in their label alone, by what it says."""
    api, made = docker.APIClient(base_url=docker_host, timeout=120), {}
    for says in ("0123456789abcdef", ""):
        recipe = f'FROM {worker_image}\nLABEL {sources.LABEL}="{says}"\n'.encode()
        lines = list(api.build(fileobj=io.BytesIO(recipe), rm=True, decode=True))
        made[says] = next(line["aux"]["ID"] for line in lines if "aux" in line)
    yield made
    for image in made.values():
        api.remove_image(image, force=True)
    api.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    done = CliRunner().invoke(app, ["init", "--home", str(tmp_path / "n"), "--listen", "127.0.0.1:7798"])
    assert done.exit_code == 0, done.output
    return Home(tmp_path / "n")


def settings(home: Home, image: str, host: str) -> Config:
    read = config.load(home.config)
    return replace(read, workers=replace(read.workers, runtime="docker", image=image, docker_host=host))


def engine_check(home: Home, chosen: Config) -> Check:
    found = asyncio.run(doctor.examine(home, chosen, keys.load(home.keys)))
    return next(check for check in found if check.name == "engine")


def said_at_start(home: Home, chosen: Config, caplog: pytest.LogCaptureFixture) -> str:
    async def story() -> None:
        await (await open_runtime(chosen, home, keys.load(home.keys).did)).close()

    caplog.clear()
    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    return caplog.text


def test_an_image_of_these_sources_is_well(
    home: Home, docker_host: str, worker_image: str, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = settings(home, worker_image, docker_host)
    assert engine_check(home, chosen).fix == ""
    assert said_at_start(home, chosen, caplog) == ""


def test_one_of_other_sources_is_named_with_the_next_command(
    home: Home, docker_host: str, labelled: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    chosen = settings(home, labelled["0123456789abcdef"], docker_host)
    check = engine_check(home, chosen)
    assert check.ok, "it works"
    assert STALE in check.found
    assert "script/image" in check.fix
    said = said_at_start(home, chosen, caplog)
    assert STALE in said
    assert "script/image" in said
    unknown = settings(home, labelled[""], docker_host)
    assert STALE not in engine_check(home, unknown).found, "of another maker's image nobody can say"


def test_the_digest_is_of_what_a_worker_runs(tmp_path: Path) -> None:
    for room in ("protocol", "provider"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    first = sources.digest(tmp_path)
    assert sources.digest(tmp_path) == first
    for other in ("protocol/edge/tls.py", "provider/daemon.py", "protocol/v1/notes.txt"):
        (tmp_path / other).write_text("# edited")
    assert sources.digest(tmp_path) == first
    changed = {first}
    for mine in ("protocol/frames.py", "provider/inference/serve.py"):
        (tmp_path / mine).write_text("# edited")
        changed.add(sources.digest(tmp_path))
    (tmp_path / "protocol" / "new.py").touch()
    changed.add(sources.digest(tmp_path))
    assert len(changed) == 4
