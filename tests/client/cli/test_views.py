"""Times for people: rounded as one would say them, and none where none is known."""

from __future__ import annotations

import pytest

from gpufair.client.cli.views import about


@pytest.mark.parametrize(
    ("estimate_us", "said"),
    [
        (0, ""), (-1, ""), (1, "about 1 s"), (2_600_000, "about 3 s"), (89_000_000, "about 89 s"),
        (150_000_000, "about 2 min"), (5_000_000_000, "about 83 min"), (9_000_000_000, "about 2.5 h"),
    ],
)  # fmt: skip
def test_about(estimate_us: int, said: str) -> None:
    assert about(estimate_us) == said
