"""The worker as a process: it refuses, cancels and ends as it should, and survives what an attempt can do to it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gpufair.protocol import frames
from gpufair.protocol.frames import (
    VERSION,
    Cancel,
    Done,
    FailCode,
    Failed,
    Load,
    Loaded,
    LoadFailed,
    Ready,
    Step,
)
from gpufair.protocol.limits import PIXELS_MAX, STEPS_MAX
from gpufair.provider.models.store import ModelStore


def failure(warm: Any, run: frames.Run) -> Failed:
    got = warm.run(run)
    assert isinstance(got[0], frames.Accepting)
    assert isinstance(got[-1], Failed), got[-1]
    assert got[-1].attempt == run.attempt
    return got[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 60}, "60"),
        ({"height": 0}, "0"),
        ({"width": 8192}, "8192"),
        ({"width": 4096, "height": 4096}, str(PIXELS_MAX)),
        ({"steps": 0}, "steps is 0"),
        ({"steps": STEPS_MAX + 1}, str(STEPS_MAX)),
        ({"steps": 2**32 - 1}, str(STEPS_MAX)),
        ({"count": 0}, "count is 0"),
        ({"count": 10**6}, "count"),
        ({"first_picture": 2**32 - 1}, "last picture"),
        ({"guidance_milli": 2**32 - 1}, "guidance"),
        ({"scheduler": "magic\x1b[2J"}, "magic"),
        ({"scheduler": "lcm"}, "lcm"),
        ({"task": "text_to_video"}, "text_to_video"),
        ({"precision": "half"}, "half"),
    ],
)
def test_a_bad_request_is_refused_with_its_number(warm: Any, demo: Any, changes: dict[str, Any], said: str) -> None:
    failed = failure(warm, demo.run(**changes))
    assert failed.code is FailCode.BAD_REQUEST
    assert said in failed.message
    assert "\x1b" not in failed.message


def test_a_model_that_is_not_loaded_is_missing(warm: Any, demo: Any) -> None:
    assert failure(warm, demo.run(model=b"x" * 32)).code is FailCode.MODEL_MISSING


def test_edges_of_what_is_allowed_work(warm: Any, demo: Any) -> None:
    for changes in ({"prompt": ""}, {"prompt": "é\0\n" * 2000, "negative_prompt": "x" * 8000}, {"steps": 1}):
        assert isinstance(warm.run(demo.run(**changes))[-1], Done)


def test_a_prompt_never_reaches_the_log(warm: Any, demo: Any) -> None:
    assert isinstance(warm.run(demo.run(prompt="unspeakable secret " * 100, steps=1))[-1], Done)
    assert "secret" not in warm.stderr.read_text()


def test_cancel_ends_an_attempt_between_steps(warm: Any, demo: Any) -> None:
    run = demo.run(steps=STEPS_MAX)
    warm.send(run)
    warm.until(Step)
    warm.send(Cancel(run.attempt))
    got = warm.until(Done, Failed)
    assert isinstance(got[-1], Failed)
    assert got[-1].code is FailCode.CANCELLED
    assert sum(isinstance(frame, Step) for frame in got) < 100
    assert isinstance(warm.run(demo.run())[-1], Done)


def test_cancel_reaches_an_attempt_that_waits_and_no_other(warm: Any, demo: Any) -> None:
    first, second = demo.run(steps=6), demo.run(steps=6)
    for frame in (first, second, Cancel(second.attempt), Cancel(b"?" * 16)):
        warm.send(frame)
    got = warm.until(Done, Failed)
    got += warm.until(Done, Failed)
    assert Done(first.attempt) in got
    [failed] = [frame for frame in got if isinstance(frame, Failed)]
    assert (failed.attempt, failed.code) == (second.attempt, FailCode.CANCELLED)
    steps = [frame for frame in got if isinstance(frame, Step) and frame.attempt == second.attempt]
    assert len(steps) <= 1, "at most its noise"


def test_a_warm_model_loads_at_once(warm: Any, demo: Any) -> None:
    warm.send(Load(demo.digest, "/nowhere"))
    [loaded] = warm.until(Loaded, LoadFailed)
    assert isinstance(loaded, Loaded)
    assert loaded.load_ms == 0
    assert loaded.size > 40_000_000


def refused_load(warm: Any, digest: bytes, path: str) -> LoadFailed:
    warm.send(Load(digest, path))
    failed = warm.until(Loaded, LoadFailed)[-1]
    assert isinstance(failed, LoadFailed)
    assert failed.digest == digest
    return failed


def test_models_that_are_not_what_they_should_be_are_refused(warm: Any, demo: Any, tmp_path: Path) -> None:
    assert refused_load(warm, b"x" * 32, str(tmp_path / "none")).code is FailCode.MODEL_MISSING
    wrong = refused_load(warm, b"x" * 32, demo.path)
    assert wrong.code is FailCode.MODEL_BAD
    assert demo.digest.hex() in wrong.message
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "model_index.json").symlink_to(Path(demo.path) / "model_index.json")
    assert refused_load(warm, b"x" * 32, str(tmp_path / "linked")).code is FailCode.MODEL_BAD


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}),
        ("scheduler/scheduler_config.json", {"_class_name": "DiffusionPipeline"}),
        ("scheduler/scheduler_config.json", {"_class_name": "NoScheduler"}),
        ("unet/config.json", {"block_out_channels": [64, 128, 256]}),
        ("unet/config.json", {"down_block_types": "nonsense"}),
        ("vae/config.json", {"latent_channels": 8}),
        ("tokenizer/tokenizer.json", {"model": {"type": "magic"}}),
        ("text_encoder/config.json", {"num_hidden_layers": 3}),
    ],
)
def test_models_that_do_not_fit_together_are_refused(
    warm: Any, demo: Any, tmp_path: Path, file: str, change: dict[str, Any]
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(demo.path, bad)
    config = json.loads((bad / file).read_text())
    (bad / file).chmod(0o644)
    (bad / file).write_text(json.dumps(config | change))
    store = ModelStore(tmp_path / "store")
    digest = store.add(bad).digest
    assert refused_load(warm, digest, str(store.path(digest))).code is FailCode.MODEL_BAD


def test_running_out_of_memory_costs_one_attempt(spare: Any, demo: Any) -> None:
    pid = spare.process.pid
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.prlimit(pid, resource.RLIMIT_AS, (used + 150_000_000, resource.RLIM_INFINITY))
    failed = failure(spare, demo.run(width=1536, height=1536, steps=1))
    assert failed.code is FailCode.OUT_OF_MEMORY
    assert isinstance(spare.run(demo.run(steps=1))[-1], Done)
    resource.prlimit(pid, resource.RLIMIT_AS, before)


def test_ready_tells_what_the_worker_runs_on(warm: Any) -> None:
    ready = warm.greeting
    assert isinstance(ready, Ready)
    assert (ready.protocol, ready.nonce) == (VERSION, b"n" * 16)
    assert (ready.profile.device_kind, ready.profile.dtype) == ("cpu", "float32")
    assert "threads 1" in ready.profile.flags
    assert ready.profile.torch.startswith("2.")
    assert ready.memory_bytes > 2**30


def test_a_gpu_that_is_not_there_is_never_replaced_by_a_cpu() -> None:
    import torch

    from gpufair.provider.inference import device
    from gpufair.provider.inference.engine import RefusedError

    if torch.cuda.is_available():
        assert device.choose("cuda").type == "cuda"
    else:
        with pytest.raises(RefusedError, match="GPU"):
            device.choose("cuda")
    assert device.choose("cpu").type == "cpu"
    with pytest.raises(RefusedError, match="tpu"):
        device.choose("tpu")


def test_sigterm_ends_a_busy_worker_at_once(spare: Any, demo: Any) -> None:
    spare.send(demo.run(steps=STEPS_MAX))
    spare.until(Step)
    begun = time.monotonic()
    os.kill(spare.process.pid, signal.SIGTERM)
    assert spare.exit_code() == 0
    assert time.monotonic() - begun < 5
