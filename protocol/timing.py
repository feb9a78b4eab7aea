"""How long a job will take. Rule: an estimate from what its provider says to have measured; nothing is owed for it.

It leaves out what nobody can know before: who else is waiting, and the way there and back.
"""

from __future__ import annotations

from typing import Protocol

from gpufair.protocol.messages import ModelState, Spec, Speed, Task
from gpufair.protocol.units import step_pixels

MEGAPIXEL = 1_000_000
UNMEASURED_US = 3_600 * 1_000_000
"""The time of a job at whoever has not measured it: an hour, so that saying nothing never comes first."""


class Timed(Protocol):
    """A model as an offer tells of it, or as its seller knows it."""

    @property
    def state(self) -> ModelState: ...  # noqa: D102
    @property
    def speed(self) -> Speed | None: ...  # noqa: D102


def estimate_us(spec: Spec, model: Timed) -> int:
    """Microseconds for a job with a model on offer, as long as the provider has nothing else to do; 0: not measured."""
    speed = model.speed
    if speed is None or not speed.step_megapixel_us:
        return 0
    steps = max(0, spec.steps - spec.done)
    work = step_pixels(steps=steps, width=spec.width, height=spec.height, count=1, guided=spec.guided)
    # To begin from a picture it is encoded first, which is about as much work as decoding.
    pixels = spec.width * spec.height * (1 if spec.task is Task.TEXT_TO_IMAGE else 2)
    picture = (work * speed.step_megapixel_us + pixels * speed.decoded_megapixel_us) // MEGAPIXEL
    return spec.count * picture + (0 if model.state is ModelState.WARM else speed.load_us)


def expected_us(spec: Spec, model: Timed, queue_ms: int) -> int:
    """Microseconds until a job would be done, those before it included; UNMEASURED_US where that is not known."""
    measured = estimate_us(spec, model)
    return min(measured + queue_ms * 1_000, UNMEASURED_US - 1) if measured else UNMEASURED_US
