"""What we do with a kind of model: the least for a stranger, LCM only for a model that was distilled for it."""

from __future__ import annotations

from gpufair.protocol import families
from gpufair.protocol.messages import Scheduler, Task


def test_stable_diffusion_does_every_task_with_every_scheduler_but_lcm() -> None:
    known = families.family("StableDiffusionPipeline")
    assert set(known.tasks) == set(Task) - {Task.UNSPECIFIED}
    assert set(known.schedulers) == set(Scheduler) - {Scheduler.UNSPECIFIED, Scheduler.LCM, Scheduler.OWN}


def test_lcm_is_for_models_that_bring_it() -> None:
    assert Scheduler.LCM in families.schedulers("StableDiffusionPipeline", families.LCM)
    assert Scheduler.LCM not in families.schedulers("StableDiffusionPipeline", "PNDMScheduler")
    assert families.schedulers("NobodysPipeline", families.LCM) == (Scheduler.OWN,)


def test_a_stranger_makes_pictures_out_of_words_in_its_own_way() -> None:
    assert families.family("NobodysPipeline") == families.STRANGER
    assert families.STRANGER.tasks == (Task.TEXT_TO_IMAGE,)
