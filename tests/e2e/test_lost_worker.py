"""The worker of a running node is killed in the middle of a job that somebody buys: the buyer notices nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import Customer
from PIL import Image
from real_nodes import Nodes

from gpufair.provider.jobs.traces import Traces

JOB = ("run", "a red heart", "--steps", "60", "--seed", "5", "--yes", "--json")


@pytest.mark.timeout(240)
def test_the_same_picture_comes_and_its_trace_is_whole(nodes: Nodes, tmp_path: Path) -> None:
    ledger = nodes.ledger().up()
    provider = nodes.provider(ledger, null=False).up().warm()
    buyer = Customer.of(ledger, provider, folder=tmp_path)
    disturbed = buyer.start(*JOB, "-o", "killed.png")
    while not provider.provider["running"] and disturbed.poll() is None:
        time.sleep(0.01)
    (worker,) = provider.workers()
    time.sleep(0.3)
    os.kill(worker, signal.SIGKILL)
    out, err = disturbed.communicate(timeout=120)
    assert disturbed.returncode == 0, out + err
    assert "DIED" in provider.provider["last_error"] or "inside a frame" in provider.provider["last_error"]
    assert provider.workers() != [worker]
    plain = buyer(*JOB, "-o", "plain.png")
    assert plain.code == 0, plain.err
    one, other = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("killed", "plain"))
    assert np.array_equal(one, other)
    shown = buyer.ok("history")["jobs"]
    assert [job["state"] for job in shown] == ["paid", "paid"]
    traces = Traces(provider.home.traces)
    kept = [traces.open(*key) for key in traces._kept]
    assert len(kept) == 2
    for one in kept:
        assert one is not None
        assert [one.state(step) for step in range(61)]
