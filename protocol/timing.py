"""How long a job will take. Rule: an estimate from what its provider says to have measured; nothing is owed for it.

It leaves out what nobody can know before: who else is waiting, and the way there and back.
"""

from __future__ import annotations

from gpufair.protocol.messages import ModelOffer, ModelState, Spec, Task
from gpufair.protocol.units import step_pixels

MEGAPIXEL = 1_000_000


def estimate_us(spec: Spec, model: ModelOffer) -> int:
    """Microseconds for a job with a model on offer, as long as the provider has nothing else to do; 0: not measured."""
    speed = model.speed
    if speed is None or not speed.step_megapixel_us:
        return 0
    work = step_pixels(steps=spec.steps, width=spec.width, height=spec.height, count=1, guided=spec.guided)
    # To begin from a picture it is encoded first, which is about as much work as decoding.
    pixels = spec.width * spec.height * (1 if spec.task is Task.TEXT_TO_IMAGE else 2)
    picture = (work * speed.step_megapixel_us + pixels * speed.decoded_megapixel_us) // MEGAPIXEL
    return spec.count * picture + (0 if model.state is ModelState.WARM else speed.load_us)
