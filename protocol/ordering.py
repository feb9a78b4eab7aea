"""From a job to what a worker is asked. Rule: who makes a picture and who judges it ask a worker for the very same.

Nothing of a client's reaches a worker but the checked values here.
"""

from __future__ import annotations

import hashlib

from gpufair.protocol.frames import Adapter, InputRef, Run
from gpufair.protocol.messages import Input, InputKind, JobBody, JobHeader, Scheduler, Spec

UNGUIDED_MILLI = 1000


def run(attempt: bytes, header: JobHeader, body: JobBody, picture: int) -> Run:
    """One picture of a job. Its inputs are those of the body, in their order; a state among them is that of `done`."""
    spec = header.spec
    return Run(
        attempt=attempt,
        model=spec.model,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seed=body.seed,
        steps=spec.steps,
        skip=spec.skip,
        guidance_milli=body.guidance_milli if spec.guided else UNGUIDED_MILLI,
        width=spec.width,
        height=spec.height,
        scheduler="" if spec.scheduler is Scheduler.OWN else spec.scheduler.name.lower(),
        count=1,
        preview_every=header.preview_every,
        first_picture=picture,
        task=spec.task.name.lower(),
        adapters=tuple(Adapter(one.digest, one.weight_milli) for one in spec.adapters),
        precision=spec.precision.name.lower() if spec.precision else "",
        inputs=tuple(_reference(one, spec) for one in body.inputs),
        first_step=spec.done,
    )


def _reference(one: Input, spec: Spec) -> InputRef:
    step = spec.done if one.kind is InputKind.STATE else 0
    return InputRef(one.kind.name.lower(), hashlib.sha256(one.data).digest(), len(one.data), step)
