"""Rule: a network that falls in two goes on in both parts, and grows together again; a newcomer needs one address.

Real daemons, each in a network namespace of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from namespaces import Resident, Switch, switch
from real_nodes import Nodes, running_nodes

PATIENCE_S = 90


@pytest.fixture
def cables(request: pytest.FixtureRequest) -> Iterator[Switch]:
    with switch(request.param) as made:
        yield made


@pytest.fixture
def nodes(cables: Switch) -> Iterator[Nodes]:  # they end before the cables go
    del cables
    with running_nodes("ns") as made:
        yield made


def resident(nodes: Nodes, cables: Switch, number: int, *peers: Resident) -> Resident:
    made = Resident(nodes.root / f"n{number}", cables.places[number], [peer.address for peer in peers])
    nodes.made.append(made)
    made.start()
    return made


def until(holds: Callable[[], bool], nodes: Sequence[Resident], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what}: {[node.ask('status')['directory'] for node in nodes]}"
        time.sleep(0.2)


def know(nodes: Sequence[Resident], offers: int) -> bool:
    """Whether all of them have the same documents, so many offers among them."""
    found = [node.ask("status")["directory"] for node in nodes]
    return len({one["digest"] for one in found}) == 1 and {one["offers"] for one in found} == {offers}


@pytest.mark.parametrize("cables", [8], indirect=True)
def test_eight_nodes_part_and_meet_again(nodes: Nodes, cables: Switch) -> None:
    count = len(cables.places)
    first = resident(nodes, cables, 0).answering()
    others = [resident(nodes, cables, n, first) for n in range(1, count - 1)]
    everybody = [first, *(one.answering() for one in others)]
    until(lambda: know(everybody, count - 1), everybody, "they don't find each other")

    half = (count - 1) // 2
    here, there = everybody[:half], everybody[half:]
    cables.cut(node.place for node in there)
    here[-1].ask("pause")
    there[-1].ask("pause")
    until(lambda: know(here, count - 1), here, "the part with the first node does not go on")
    until(lambda: know(there, count - 1), there, "the part without the first node does not go on")
    assert not know(everybody, count - 1), "nothing was cut"

    cables.heal(node.place for node in there)
    until(lambda: know(everybody, count - 1), everybody, "the parts don't grow together")

    newcomer = resident(nodes, cables, count - 1, there[0]).answering()
    everybody.append(newcomer)
    until(lambda: know(everybody, count), everybody, "the newcomer does not find everybody")
