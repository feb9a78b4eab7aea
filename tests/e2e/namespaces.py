"""Nodes in network namespaces of their own, on one switch. ONE RULE: what is made here is gone afterwards.

The machine's own network is not touched: the switch, too, is in a namespace.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_nodes import Node

PORT = 7700


class NoNamespacesError(Exception):
    """This machine, or this user, can't make them."""


def ip(*words: str) -> None:
    """One `ip` command."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoNamespacesError(f"there is no `ip` command: {error}") from error
    if done.returncode:
        raise NoNamespacesError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@dataclass(frozen=True)
class Place:
    """One namespace; `port` is its end of the cable in the switch."""

    name: str
    address: str
    port: str


class Switch:
    """A namespace with two bridges: all cables are in the first, and those of a part that is cut off in the second."""

    def __init__(self, count: int) -> None:
        mark = f"gf{os.getpid() % 100_000}"
        self.name = f"{mark}hub"
        self.places = [Place(f"{mark}n{n}", f"10.77.0.{n + 1}", f"v{n}") for n in range(count)]

    def make(self) -> None:
        """Raises NoNamespacesError."""
        ip("netns", "add", self.name)
        for bridge in ("whole", "part"):
            ip("-n", self.name, "link", "add", bridge, "type", "bridge")
            ip("-n", self.name, "link", "set", bridge, "up")
        for place in self.places:
            ip("netns", "add", place.name)
            ip("-n", place.name, "link", "add", "eth0", "type", "veth", "peer", "name", place.port, "netns", self.name)
            ip("-n", place.name, "address", "add", f"{place.address}/24", "dev", "eth0")
            ip("-n", place.name, "link", "set", "eth0", "up")
            ip("-n", place.name, "link", "set", "lo", "up")
            ip("-n", self.name, "link", "set", place.port, "master", "whole")
            ip("-n", self.name, "link", "set", place.port, "up")

    def cut(self, places: Iterable[Place]) -> None:
        """These hear each other and nobody else; no connection is closed, packets are simply lost."""
        for place in places:
            ip("-n", self.name, "link", "set", place.port, "master", "part")

    def heal(self, places: Iterable[Place]) -> None:
        """One network again."""
        for place in places:
            ip("-n", self.name, "link", "set", place.port, "master", "whole")

    def end(self) -> None:
        """Remove all of it."""
        for name in (*(place.name for place in self.places), self.name):
            with contextlib.suppress(NoNamespacesError):
                ip("netns", "delete", name)


class Resident(Node):
    """A provider and directory without models, in a place: it has an offer, and no worker."""

    def __init__(self, root: Path, place: Place, peers: list[str]) -> None:
        self.place = place
        super().__init__(
            root, roles=("provider", "directory"), port=PORT, host=place.address, announce=[f"{place.address}:{PORT}"],
            peer=peers, demo_model=False,
        )  # fmt: skip
        self.before = ["ip", "netns", "exec", place.name]

    @property
    def address(self) -> str:
        """As people write it."""
        return f"{self.did}@{self.place.address}:{PORT}"


@contextlib.contextmanager
def switch(count: int) -> Iterator[Switch]:
    """A switch with so many places; the test is skipped, and says so, where there can be none."""
    made = Switch(count)
    try:
        try:
            made.make()
        except NoNamespacesError as error:
            pytest.skip(f"network namespaces can't be made here: {error}")
        yield made
    finally:
        made.end()
