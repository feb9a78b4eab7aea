"""The schedulers by name. Rule: every picture gets a fresh one, because schedulers remember what they did."""

from __future__ import annotations

from typing import Any, Final

import diffusers

from gpufair.protocol.errors import printable
from gpufair.protocol.frames import FailCode
from gpufair.provider.inference.engine import RefusedError

CLASSES: Final[dict[str, Any]] = {
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
}


def fresh(own: Any, name: str, steps: int, device: Any) -> Any:
    """A new scheduler of this name (empty: of the model's own kind), set to `steps` steps.

    `RefusedError` for a name that isn't known, a kind that doesn't suit the model, or a number of steps that this
    scheduler would silently change.
    """
    kind: Any = CLASSES.get(name) if name else type(own)
    if kind not in CLASSES.values():
        said = printable(name) if name else f"the model's own {type(own).__name__}"
        raise RefusedError(FailCode.BAD_REQUEST, f"no scheduler {said}; there are {', '.join(CLASSES)}")
    if kind is diffusers.LCMScheduler and type(own) is not kind:
        raise RefusedError(FailCode.BAD_REQUEST, "lcm suits only a model distilled for it, and this one isn't")
    scheduler = kind.from_config(own.config)
    try:
        scheduler.set_timesteps(steps, device=device)
    except ValueError as err:
        raise RefusedError(FailCode.BAD_REQUEST, f"{kind.__name__} can't do {steps} steps with this model") from err
    if len(scheduler.timesteps) != steps:
        done = len(scheduler.timesteps)
        raise RefusedError(FailCode.BAD_REQUEST, f"{kind.__name__} would do {done} steps instead of {steps}")
    return scheduler
