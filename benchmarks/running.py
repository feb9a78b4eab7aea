"""How benchmarks are run. ONE RULE: ours and the peer take turns in one run, and a row that loses is printed like
others.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row


@dataclass(frozen=True)
class Options:
    """`quick`: few rounds, to see that it works. `folder`: an empty folder on the disk that is measured."""

    quick: bool
    folder: Path

    def rounds(self, usual: int, quick: int) -> int:
        """How often to measure."""
        return quick if self.quick else usual


@dataclass(frozen=True)
class Entry:
    """A benchmark: `module` has `run(options: Options) -> Iterator[Row]`."""

    name: str
    module: str
    about: str
    by_name_only: bool = False

    def run(self, options: Options) -> Iterator[Row]:
        """Its rows, as they come. The module is imported only now: some need Docker, some torch."""
        yield from importlib.import_module(self.module).run(options)


class NotHereError(Exception):
    """Something that a benchmark needs is not on this machine: what, and what to do."""


def say(text: str) -> None:
    """Tell what goes on; stdout is for the rows."""
    print(f"  {text}", file=sys.stderr, flush=True)
