"""What is said while a provider is out of reach: plain words, and not again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufair.client.cli import progress
from gpufair.client.cli.progress import Watch, plainly
from gpufair.client.cli.stage import Stage
from gpufair.client.session.events import ConnectionLost, JobAccepted

REFUSED = (
    "127.0.0.1:7700 cannot be reached: failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7700: "
    "Failed to connect to remote host: Connection refused"
)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (REFUSED, "connection refused"),
        (
            "errors resolving no.such.host:1: [address lookup failed: Domain name not found]",
            "its name can't be looked up",
        ),
        ("the provider ended the stream", "the provider ended the stream"),
    ],
)
def test_it_is_said_in_plain_words(raw: str, words: str) -> None:
    assert plainly(raw) == words


def test_a_line_is_not_said_again_within_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watch(Stage(tmp_path, as_json=False), count=1, steps=20) as watch:
        for _ in range(19):
            watch(ConnectionLost(REFUSED))
        assert capsys.readouterr().err == "trying again: connection refused\n"
        watch(ConnectionLost("the provider ended the stream"))
        assert capsys.readouterr().err == "trying again: the provider ended the stream\n"
        watch(JobAccepted(b"job", 0, 11))
        capsys.readouterr()
        monkeypatch.setattr(progress, "_SAY_AGAIN_S", 0.0)
        watch(ConnectionLost("the provider ended the stream"))
        assert capsys.readouterr().err == "trying again: the provider ended the stream\n"
