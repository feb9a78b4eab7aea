"""The runtimes that the contract is held against: processes, containers under runc, and under gVisor."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from gpufair.provider.models.store import ModelStore
from gpufair.provider.workers.docker import DockerRuntime
from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Runtime

KINDS = ("process", "docker", "gvisor")
Open = Callable[[], AbstractAsyncContextManager[Runtime]]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Open:
    """Opens the runtime; whatever the test left in it is a failure."""
    node = f"did:test:contract:{os.getpid()}"
    engine = {} if kind == "process" else {
        "host": request.getfixturevalue("docker_host"), "image": request.getfixturevalue("worker_image"),
    }  # fmt: skip

    @asynccontextmanager
    async def opened() -> AsyncIterator[Runtime]:
        runtime: Runtime
        if kind == "process":
            runtime = ProcessRuntime(node, tmp_path / "state")
        else:
            runtime = await DockerRuntime.connect(node=node, gvisor=kind == "gvisor", **engine)
        failed = True
        try:
            yield runtime
            failed = False
        finally:
            left = await runtime.leftovers()
            for leftover in left:
                await runtime.reap(leftover)
            await runtime.close()
            assert failed or left == [], "the test left workers behind"

    return opened


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The demo model in a store of its own: the folder and the digest."""
    root = tmp_path_factory.mktemp("store")
    # The worker has no rights of the owner's: the store's folders must be open to it, and pytest's own are not.
    for folder in (root, *root.parents[:2]):
        folder.chmod(0o755)
    store = ModelStore(root)
    return store, store.add(Path(str(files("gpufair.provider.models") / "demo"))).digest, root
