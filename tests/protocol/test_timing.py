"""How long a job will take: from measured speed and the job's shape, nothing else."""

from __future__ import annotations

from dataclasses import replace

from gpufair.protocol.messages import ModelOffer, ModelState, Precision, PriceSheet, Scheduler, Spec, Speed, Task
from gpufair.protocol.timing import estimate_us

SPEED = Speed(step_megapixel_us=1_000_000, decoded_megapixel_us=500_000, load_us=7_000_000)
MODEL = ModelOffer(
    b"m" * 32, "m", "f", "", ModelState.WARM, PriceSheet(b"m" * 32, 1, 0, 0, 0, 0), speed=SPEED
)  # fmt: skip
SPEC = Spec(Task.TEXT_TO_IMAGE, b"m" * 32, Scheduler.DDIM, Precision.EXACT, 1000, 1000, 10, 1, guided=False)


def test_steps_guidance_count_and_decoding_add_up() -> None:
    assert estimate_us(SPEC, MODEL) == 10_500_000
    assert estimate_us(replace(SPEC, guided=True), MODEL) == 20_500_000
    assert estimate_us(replace(SPEC, count=3), MODEL) == 3 * 10_500_000
    assert estimate_us(replace(SPEC, task=Task.INPAINT, steps=5, skip=5), MODEL) == 6_000_000
    assert estimate_us(replace(SPEC, done=5), MODEL) == 5_500_000, "what was done elsewhere takes no time here"


def test_a_model_that_is_not_warm_is_loaded_first() -> None:
    assert estimate_us(SPEC, replace(MODEL, state=ModelState.CACHED)) == 17_500_000


def test_what_was_not_measured_is_not_estimated() -> None:
    for speed in (None, Speed(), Speed(load_us=1)):
        assert estimate_us(SPEC, replace(MODEL, speed=speed)) == 0
