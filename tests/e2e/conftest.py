"""Nodes to be had: of one test, of a module, or of the whole session for tests that leave them as they were."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from real_nodes import Node, Nodes, running_nodes


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Nodes of one test."""
    with running_nodes("one") as made:
        yield made


@pytest.fixture(scope="module")
def nodes_of_module() -> Iterator[Nodes]:
    """Nodes that the tests of a module share."""
    with running_nodes("mod") as made:
        yield made


@pytest.fixture(scope="session")
def shared() -> Iterator[tuple[Node, Node]]:
    """A ledger and a warm null provider for tests that leave them running as they were."""
    with running_nodes("all") as made:
        ledger = made.ledger().up()
        yield ledger, made.provider(ledger).up().warm()


@pytest.fixture(scope="session")
def ledger(shared: tuple[Node, Node]) -> Node:
    """A ledger that goes on when the test is over."""
    return shared[0]


@pytest.fixture(scope="session")
def docker_choices(docker_host: str, worker_image: str) -> dict[str, str]:
    """What a provider with containers is made with; its docker host goes into the configuration."""
    return {"image": worker_image, "host": docker_host}
