"""What all rooms share: the settings of the private engine, and which files come first.

ONE RULE: no Docker test passes by not running. As root a missing engine is a failure, else the tests say why they skip.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow at everything: no test is about time, so no example has a deadline.
settings.register_profile("house", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("house")

SLOW = ("e2e", "contract", "inference", "workers", "simulation")
"""These rooms begin first: whole files go to the test processes, and a long one that began last would end alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        room = item.path.relative_to(here).parts[0]
        return SLOW.index(room) if room in SLOW else len(SLOW)

    items.sort(key=rank)


def needed(name: str) -> str:
    """A setting that script/test makes."""
    value = os.environ.get(name, "")
    if not value:
        why = f"{name} is not set: the Docker tests need a private engine; run script/test, which brings one up"
        if os.geteuid() == 0:
            pytest.fail(why)
        print(why)
        pytest.skip(f"{why} (as root)")
    return value


@pytest.fixture(scope="session")
def docker_host() -> str:
    """Where the private engine answers."""
    return needed("GPUFAIR_TEST_DOCKER_HOST")


@pytest.fixture(scope="session")
def base_image() -> str:
    """A Debian with Python, by its digest: what a test's own image is built from."""
    return needed("GPUFAIR_TEST_BASE_IMAGE")


@pytest.fixture(scope="session")
def worker_image() -> str:
    """The worker's image, by its digest."""
    return needed("GPUFAIR_TEST_WORKER_IMAGE")
