"""The runtimes that the contract is held against: processes, containers under runc, and under gVisor."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from gpufair.provider.workers.docker import DockerRuntime
from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Runtime

KINDS = ("process", "docker", "gvisor")
Open = Callable[[], AbstractAsyncContextManager[Runtime]]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kind: str, tmp_path: Path) -> Open:
    """Opens the runtime; whatever the test left in it is a failure."""
    node = f"did:test:contract:{os.getpid()}"

    @asynccontextmanager
    async def opened() -> AsyncIterator[Runtime]:
        runtime: Runtime
        if kind == "process":
            runtime = ProcessRuntime(node, tmp_path / "state")
        else:
            host, image = needed("GPUFAIR_TEST_DOCKER_HOST"), needed("GPUFAIR_TEST_WORKER_IMAGE")
            runtime = await DockerRuntime.connect(node=node, image=image, host=host, gvisor=kind == "gvisor")
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


def needed(name: str) -> str:
    """A setting that script/test makes. As root its absence is a failure: no Docker test may pass by not running."""
    value = os.environ.get(name, "")
    if not value:
        why = f"{name} is not set: the Docker tests need a private engine; run script/test, which brings one up"
        if os.geteuid() == 0:
            pytest.fail(why)
        print(why)
        pytest.skip(f"{why} (as root)")
    return value
