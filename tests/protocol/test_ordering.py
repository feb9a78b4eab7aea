"""A job as a worker is asked for it: every checked value, and nothing else of its buyer's."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from gpufair.protocol import ordering
from gpufair.protocol.frames import Adapter as RunAdapter
from gpufair.protocol.frames import InputRef, Run, encode
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Head, Input, InputKind, JobBody, JobHeader, Precision, Scheduler, Spec, Task
from gpufair.protocol.messages.job import Adapter

DID = KeySigner.from_seed(b"o" * 32).did
SPEC = Spec(
    Task.INPAINT, b"m" * 32, Scheduler.DPMPP_2M, Precision.SINGLE, 64, 128, 20, 3, guided=True,
    adapters=(Adapter(b"a" * 32, -500),), skip=5,
)  # fmt: skip
BODY = JobBody(b"s" * 16, "a fox", "blue", 7, 4_000, (Input(InputKind.IMAGE, b"png"), Input(InputKind.MASK, b"mask")))


def header(spec: Spec) -> JobHeader:
    head = Head(DID, (DID,), b"i" * 16, 1, 2)
    return JobHeader(head, b"l" * 32, b"j" * 16, spec, b"w" * 32, b"b" * 32, b"", 1_000, 0, 4)


def test_every_value_of_a_job_reaches_its_worker() -> None:
    run = ordering.run(b"t" * 16, header(SPEC), BODY, 2)
    digests = [hashlib.sha256(one.data).digest() for one in BODY.inputs]
    assert run == Run(
        b"t" * 16, b"m" * 32, "a fox", 7, 20, 4_000, 64, 128, "blue", "dpmpp_2m", 1, 4, 2, "inpaint",
        (RunAdapter(b"a" * 32, -500),), "single", 5,
        (InputRef("image", digests[0], 3), InputRef("mask", digests[1], 4)),
    )  # fmt: skip
    assert encode(run)


def test_what_a_job_leaves_open_is_the_models_own() -> None:
    plain = replace(SPEC, scheduler=Scheduler.OWN, precision=Precision.UNSPECIFIED, guided=False, adapters=())
    run = ordering.run(b"t" * 16, header(plain), replace(BODY, inputs=()), 0)
    assert (run.scheduler, run.precision, run.guidance_milli, run.inputs) == ("", "", 1_000, ())
