"""What we do with a kind of model. Rule: a family is its pipeline's class, told in one line; a stranger does the least.

Offers are made from it, and workers serve no more than it says. A new family is one more line here, and one file in the
inference room.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol.messages import Scheduler, Task

LCM = "LCMScheduler"
"""The scheduler class that a model distilled for few steps brings along: no other model can use it."""


@dataclass(frozen=True, slots=True)
class Family:
    """The tasks that a family's models do, and the schedulers that suit them all.

    `maker` is the file in the inference room's `families/` that draws with them.
    """

    tasks: tuple[Task, ...]
    schedulers: tuple[Scheduler, ...]
    maker: str = "stranger"

    @property
    def is_open(self) -> bool:
        """Whether a state is all that the next step depends on, so that another worker can go on from it."""
        return self.maker != "stranger"


_STABLE_DIFFUSION = Family(
    (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT),
    (Scheduler.DDIM, Scheduler.EULER, Scheduler.EULER_ANCESTRAL, Scheduler.DPMPP_2M, Scheduler.UNIPC),
    maker="stable_diffusion",
)
STRANGER = Family((Task.TEXT_TO_IMAGE,), (Scheduler.OWN,))
"""A pipeline that we know nothing of: it makes pictures out of words, in its own way."""

FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": _STABLE_DIFFUSION,
}
"""By the class of the pipeline, as a model's index names it."""


def family(pipeline: str) -> Family:
    """What we do with models of a pipeline class."""
    return FAMILIES.get(pipeline, STRANGER)


def schedulers(pipeline: str, own: str) -> tuple[Scheduler, ...]:
    """The schedulers for one model, `own` being the class of the scheduler that it brings along."""
    suits = family(pipeline).schedulers
    return (*suits, Scheduler.LCM) if own == LCM and suits != STRANGER.schedulers else suits
