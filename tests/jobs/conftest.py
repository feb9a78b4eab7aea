"""`deal()` makes a lease between two honest cores and a ledger; see tests/simulation/pair.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))

from pair import Deal


@pytest.fixture
def deal():
    """A funded and open lease, made to measure."""
    return lambda **terms: Deal(**terms).agree().fund().open()


@pytest.fixture
def agreed():
    """A lease that nobody has funded."""
    return lambda **terms: Deal(**terms).agree()
