"""A node that can't have its port says so, and leaves nothing behind: no lock, no thread, no hold on an engine."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpufair.protocol.edge import keys
from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider import config
from gpufair.provider.cli.app import app
from gpufair.provider.cli.common import Exit
from gpufair.provider.daemon import Node
from gpufair.provider.home import Home


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def home_at(path: Path, port: int, *words: str) -> Home:
    done = CliRunner().invoke(app, ["init", "--home", str(path), "--listen", f"127.0.0.1:{port}", *words])
    assert done.exit_code == 0, done.output
    return Home(path)


def test_up_says_what_is_wrong_and_ends(tmp_path: Path, taken: int) -> None:
    home = home_at(tmp_path / "n", taken, "--runtime", "process")
    command = [str(Path(sys.executable).parent / "gpufaird"), "up", "--home", str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert done.returncode == Exit.LOCAL
    assert f"cannot listen on 127.0.0.1:{taken}" in done.stderr
    assert "choose another" in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.running()
    assert not home.socket.exists()
    assert not [path for path in home.workers.rglob("*") if path.is_file()], "no worker was started, and none is left"


def test_the_engine_is_let_go_of(tmp_path: Path, taken: int, docker_host: str, worker_image: str) -> None:
    home = home_at(tmp_path / "n", taken, "--runtime", "docker", "--image", worker_image)
    home.config.write_text(home.config.read_text().replace('docker_host = ""', f'docker_host = "{docker_host}"'))
    settings = config.load(home.config)
    assert settings.workers.docker_host == docker_host

    async def story() -> None:
        node = Node(home, settings, keys.load(home.keys))
        with pytest.raises(LocalError, match="cannot listen") as caught:
            await node.start()
        assert caught.value.fault is Fault.UNAVAILABLE

    asyncio.run(story())
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("engine")] == []
    assert not home.running()
