"""Two folders with the same keys: the second node refuses, names the first, and leaves its workers alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpufair.protocol.edge import keys
from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider import config
from gpufair.provider import home as home_module
from gpufair.provider.cli.app import app
from gpufair.provider.daemon import Node
from gpufair.provider.home import Home
from gpufair.provider.workers.docker import DockerRuntime
from gpufair.provider.workers.runtime import WorkerSpec

DID = f"did:test:claim:{os.getpid()}"


def node_at(home: Home) -> Node:
    return Node(home, config.load(home.config), keys.load(home.keys))


def test_a_copy_refuses_and_reaps_nothing(tmp_path: Path, docker_host: str, worker_image: str) -> None:
    first, second = Home(tmp_path / "q"), Home(tmp_path / "q2")
    where = ["--listen", "127.0.0.1:0", "--announce", "127.0.0.1:7799", "--no-demo-model"]
    words = [*where, "--runtime", "docker", "--image", worker_image]
    done = CliRunner().invoke(app, ["init", "--home", str(first.root), *words])
    assert done.exit_code == 0, done.output
    first.config.write_text(first.config.read_text().replace('docker_host = ""', f'docker_host = "{docker_host}"'))
    shutil.copytree(first.root, second.root)

    async def story() -> None:
        live = node_at(first)
        await live.start()
        runtime = await DockerRuntime.connect(node=live.keys.did, image=worker_image, host=docker_host)
        try:
            worker = await runtime.start(WorkerSpec(models=tmp_path, memory_bytes=256 << 20), "w1")
            with pytest.raises(LocalError, match="the same keys") as caught:
                await node_at(second).start()
            assert caught.value.fault is Fault.CONFLICT
            assert f"is running in {first.root}" in caught.value.what
            assert [left.worker for left in await runtime.leftovers()] == ["w1"]
            assert not second.running()
            await worker.kill()
        finally:
            await live.stop()
            await runtime.close()
        moved = node_at(second)  # the first has stopped: its copy may run
        await moved.start()
        await moved.stop()

    asyncio.run(story())


def _hold_and_die(root: Path) -> None:
    held = Home(root).claim(DID)
    held.__enter__()
    os._exit(9)


def test_a_node_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    dying = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(tmp_path / "a",))
    dying.start()
    dying.join(60)
    assert dying.exitcode == 9
    with Home(tmp_path / "b").claim(DID), pytest.raises(LocalError, match=str(tmp_path / "b")):
        Home(tmp_path / "a").claim(DID).__enter__()


def test_other_keys_run_beside_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_module, "CLAIMS", tmp_path)
    with Home(tmp_path / "a").claim(DID), Home(tmp_path / "b").claim(f"{DID}:other"):
        assert len(list(tmp_path.glob("gpufaird-*"))) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("planted", ["open", "link", "file"])
def test_a_claim_that_others_could_hold_is_refused(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_module, "CLAIMS", tmp_path)
    with Home(tmp_path / "a").claim(DID):
        (place,) = tmp_path.glob("gpufaird-*")
    private = tmp_path / "elsewhere"
    private.mkdir(mode=0o700)
    if planted == "open":
        place.mkdir()
        place.chmod(0o777)
    elif planted == "link":
        place.symlink_to(private)
    else:
        place.touch()
    with pytest.raises(LocalError, match="not a private folder") as caught:
        Home(tmp_path / "a").claim(DID).__enter__()
    assert str(place) in caught.value.what
    assert not list(private.iterdir())
