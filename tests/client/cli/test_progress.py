"""What is said while a provider is out of reach: plain words, and not again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufair.client.cli import progress
from gpufair.client.cli.progress import Watch
from gpufair.client.cli.stage import Stage
from gpufair.client.session.events import ConnectionLost, JobAccepted

REFUSED = "127.0.0.1:7700 cannot be reached: connection refused"


def test_a_line_is_not_said_again_within_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watch(Stage(tmp_path, as_json=False), count=1, steps=20) as watch:
        for _ in range(19):
            watch(ConnectionLost(REFUSED))
        assert capsys.readouterr().err == f"trying again: {REFUSED}\n"
        watch(ConnectionLost("the provider ended the stream"))
        assert capsys.readouterr().err == "trying again: the provider ended the stream\n"
        watch(JobAccepted(b"job", 0, 11))
        capsys.readouterr()
        monkeypatch.setattr(progress, "_SAY_AGAIN_S", 0.0)
        watch(ConnectionLost("the provider ended the stream"))
        assert capsys.readouterr().err == "trying again: the provider ended the stream\n"
