"""The settings: the template is true, amounts are exact, and whatever can't be meant is an error that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufair.client import config
from gpufair.client.config import Config, Home
from gpufair.protocol.errors import Fault, LocalError


def read(text: str) -> Config:
    return config.parse(text.encode(), "config.toml")


def test_the_template_is_what_it_says(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    config.write_template(home)
    settings = config.load(home)
    assert settings.daily_cap == 10_000_000
    assert settings == Config(daily_cap=10_000_000)
    home.config.write_text("model = 'mine'")
    config.write_template(home)
    assert config.load(home).model == "mine", "an owner's file is never overwritten"


def test_without_a_file_there_are_no_bounds(tmp_path: Path) -> None:
    assert config.load(Home(tmp_path)) == Config()


@pytest.mark.parametrize(
    ("written", "amount"), [('"0.25"', 250_000), ("0.25", 250_000), ("3", 3_000_000), ("0.000001", 1), ("0.1", 100_000)]
)
def test_amounts_are_exact_however_they_are_written(written: str, amount: int) -> None:
    assert read(f"max_price = {written}").max_price == amount


@pytest.mark.parametrize(
    "text",
    [
        "daily_cap = nan",
        "daily_cap = inf",
        "daily_cap = -1",
        "daily_cap = 1e3",
        "daily_cap = true",
        "daily_cap = 0.0000001",
        "daily_cap = 99999999999999999999",
        'daily_cap = ""',
        "daily_cap = []",
        "dayly_cap = 1",
        "peers = 'a:1'",
        "peers = [1]",
        "peers = ['http://x:1']",
        "peers = ['0.0.0.0:1']",
        "deadline = 0",
        "deadline = 99999999",
        "deadline = 1.5",
        "trust_provider_ledger = 1",
        'model = "\\u001b[31m"',
        "model = 5",
        "= = =",
    ],
)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(LocalError) as caught:
        read(text)
    assert caught.value.fault is Fault.MALFORMED
    key = text.split(" ", maxsplit=1)[0]
    assert key in str(caught.value) or "not TOML" in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for data in (b"\xff\xfe", b"\0", b"a = [" + b"[" * 5000):
        with pytest.raises(LocalError):
            config.parse(data, "config.toml")
    home = Home(tmp_path)
    home.config.write_bytes(b"#" * 100_000)
    with pytest.raises(LocalError, match="more than"):
        config.load(home)


def test_peers_are_addresses() -> None:
    assert [str(one) for one in read('peers = ["Node.example:7700", "[::1]:5"]').peers] == [
        "node.example:7700",
        "[::1]:5",
    ]
