"""The null worker, and with it everything about the pipe that needs no torch: bad bytes, stops, credit, speed."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import time
from typing import Any

import pytest
from PIL import Image

from gpufair.protocol import frames, trace
from gpufair.protocol.frames import VERSION, Cancel, Done, FailCode, Failed, Hello, Load, Loaded, Ready, Run, Stop
from gpufair.protocol.limits import FRAME_MAX

NULL = "gpufair.provider.inference.null"
RUN = Run(b"a" * 16, b"m" * 32, "a fox", 7, 20, 3000, 64, 64)


def test_it_needs_no_torch_and_starts_in_a_blink(start: Any) -> None:
    listing = (
        f"import sys, {NULL}; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'diffusers', 'numpy')])"
    )
    out = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    times = []
    for _ in range(3):
        begun = time.monotonic()
        start(NULL)
        times.append(time.monotonic() - begun)
    assert min(times) < 1.0  # 0.15 s on a quiet machine


def test_it_gives_well_formed_pictures(start: Any, pictures: Any) -> None:
    worker = start(NULL)
    worker.send(Load(b"m" * 32, "/nowhere"))
    assert isinstance(worker.until(Loaded)[-1], Loaded)
    got = worker.run(Run(b"b" * 16, b"m" * 32, "a fox", 7, 20, 3000, 64, 64, count=3, first_picture=5))
    assert got[-1] == Done(b"b" * 16)
    seen = pictures(got)
    assert sorted(seen.png) == [5, 6, 7]
    for end in seen.ends:
        png = seen.png[end.picture]
        Image.open(io.BytesIO(png)).load()
        assert (end.sha256, end.length) == (hashlib.sha256(png).digest(), len(png))
        assert (end.leaf_count, end.trace_root) == (21, trace.root(seen.leaves[end.picture]))


def test_it_refuses_what_the_real_worker_refuses(start: Any) -> None:
    worker = start(NULL)
    failed = worker.run(Run(b"b" * 16, b"m" * 32, "a fox", 7, 0, 3000, 64, 64))[-1]
    assert isinstance(failed, Failed)
    assert failed.code is FailCode.BAD_REQUEST
    assert worker.run(RUN)[-1] == Done(RUN.attempt)


def test_long_attempts_flow_under_credit_and_can_be_cancelled(start: Any) -> None:
    worker = start(NULL)
    many = Run(b"c" * 16, b"m" * 32, "x", 7, 500, 3000, 64, 64, count=64)
    worker.send(many)
    worker.until(frames.OutputEnd)
    worker.send(Cancel(many.attempt))
    failed = worker.until(Done, Failed)[-1]
    assert isinstance(failed, Failed)
    assert failed.code is FailCode.CANCELLED


def test_a_node_that_does_not_read_stops_the_worker_within_its_credit(start: Any) -> None:
    worker = start(NULL)
    worker.send(Run(b"d" * 16, b"m" * 32, "x", 7, 500, 3000, 64, 64, count=8))
    arrived = 0
    link, quiet = worker.link, 0
    import os
    import select

    while quiet < 3:
        if not select.select([worker.process.stdout], [], [], 0.2)[0]:
            quiet += 1
            continue
        data = os.read(worker.process.stdout.fileno(), 65536)
        arrived += len(data)
        link.feed(data)  # handled by nobody: no credit goes back
    assert 30_000 < arrived <= 32 * 1024
    assert worker.process.poll() is None


def test_stop_comes_after_what_was_asked_before(start: Any) -> None:
    worker = start(NULL)
    worker.send(RUN)
    worker.send(Stop())
    assert worker.until(Done)[-1] == Done(RUN.attempt)
    assert worker.exit_code() == 0


def test_the_end_of_stdin_ends_it_even_when_busy(start: Any) -> None:
    worker = start(NULL)
    worker.send(Run(b"d" * 16, b"m" * 32, "x", 7, 500, 3000, 64, 64, count=64))
    worker.process.stdin.close()
    assert worker.exit_code() == 0


def test_a_node_that_is_gone_ends_it(start: Any) -> None:
    worker = start(NULL)
    worker.process.stdout.close()
    worker.send(RUN)
    assert worker.exit_code() == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((FRAME_MAX + 1).to_bytes(4, "big"), "limit"),
        (b"\xff" * 64, "limit"),
        (b"\0\0\0\x04junk", "protobuf"),
        (b"\0\0\0\0", "unknown"),
        (frames.encode(frames.Done(b"a" * 16)), "wrong side"),
        (frames.encode(Hello(VERSION, b"n" * 16, 1)), "second Hello"),
        (frames.encode(frames.Credit(1)), "credit"),
    ],
)
def test_bad_bytes_end_it_with_a_clear_word(start: Any, data: bytes, said: str) -> None:
    worker = start(NULL)
    worker.send_raw(data)
    assert worker.exit_code() == 2
    log = worker.stderr.read_text()
    assert said in log
    assert len(log.splitlines()) == 1


def test_a_stream_cut_inside_a_frame_ends_it_with_a_clear_word(start: Any) -> None:
    worker = start(NULL)
    worker.send_raw(frames.encode(RUN)[:-3])
    worker.process.stdin.close()
    assert worker.exit_code() == 2
    assert "inside a frame" in worker.stderr.read_text()


def test_another_version_first_frame_or_device_ends_it(start: Any) -> None:
    worker = start(NULL, greet=False)
    worker.send(Hello(VERSION + 1, b"n" * 16, 1))
    assert worker.exit_code() == 3
    assert "version" in worker.stderr.read_text() or "protocol" in worker.stderr.read_text()
    worker = start(NULL, greet=False)
    worker.send(RUN)
    assert worker.exit_code() == 2
    worker = start(NULL, greet=False)
    worker.send(Hello(VERSION, b"n" * 16, 1, "cuda"))  # a device that it doesn't have
    assert worker.exit_code() == 4
    assert "cuda" in worker.stderr.read_text()


def test_what_a_library_prints_is_kept_out_of_the_frames(start: Any) -> None:
    code = (
        "from gpufair.provider.inference.null import NullEngine\n"
        "from gpufair.provider.inference.serve import main\n"
        "import os, sys\n"
        "class Loud(NullEngine):\n"
        "    def advance(self):\n"
        "        print('print'); os.write(1, b'raw'); os.system('echo child')\n"
        "        assert sys.stdin.read() == ''\n"
        "        return super().advance()\n"
        "main(Loud)\n"
    )
    process = subprocess.Popen([sys.executable, "-u", "-c", code], stdin=-1, stdout=-1, stderr=subprocess.PIPE)
    sent = [Hello(VERSION, b"n" * 16, 1), RUN, Stop()]
    assert process.stdin is not None
    process.stdin.write(b"".join(frames.encode(frame) for frame in sent))
    process.stdin.flush()
    assert process.stdout is not None
    got = frames.FrameDecoder().feed(process.stdout.read())
    assert process.wait(30) == 0
    assert isinstance(got[0], Ready)
    assert frames.Done(RUN.attempt) in got
    assert process.stderr is not None
    assert {b"print", b"raw", b"child"} <= set(process.stderr.read().replace(b"rawchild", b"raw\nchild").split())
