"""The schedulers by name. Rule: every picture gets a fresh one, because schedulers remember what they did.

A name means the same for every model: how the noise is spread over the steps is the model's own affair, what its name
promises is not. `dpmpp_2m` is DPM++ of the second order, multistep, with Karras' noise levels: what the field means by
"DPM++ 2M Karras". A model's own scheduler is taken under the name of its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import diffusers

from gpufair.protocol.errors import printable
from gpufair.protocol.frames import FailCode
from gpufair.provider.inference.engine import RefusedError


@dataclass(frozen=True)
class Kind:
    """A scheduler's class, and what its name promises whatever the model's own configuration says."""

    made: Any
    promises: Mapping[str, Any] = field(default_factory=dict)

    def of(self, config: Any) -> Any:
        """One for a model whose own scheduler has this configuration."""
        return self.made.from_config(config, **self.promises)


_LEVELS = {"use_exponential_sigmas": False, "use_beta_sigmas": False, "use_flow_sigmas": False}
_DPMPP_2M = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint", "use_karras_sigmas": True}

KINDS: Final[dict[str, Kind]] = {
    "ddim": Kind(diffusers.DDIMScheduler),
    "euler": Kind(diffusers.EulerDiscreteScheduler),
    "euler_ancestral": Kind(diffusers.EulerAncestralDiscreteScheduler),
    "dpmpp_2m": Kind(diffusers.DPMSolverMultistepScheduler, {**_LEVELS, "use_lu_lambdas": False, **_DPMPP_2M}),
    "unipc": Kind(diffusers.UniPCMultistepScheduler, {"solver_order": 2, "solver_p": None}),
    "lcm": Kind(diffusers.LCMScheduler),
}


def fresh(own: Any, name: str, steps: int, device: Any, *, skip: int = 0) -> Any:
    """A new scheduler of this name (empty: of the model's own kind), set to do the last `steps` of `skip` + `steps`.

    `RefusedError` for a name that isn't known, a kind that doesn't suit the model, or a number of steps that this
    scheduler would silently change.
    """
    kind = _kind(own, name)
    called, whole = kind.made.__name__, skip + steps
    if kind.made is diffusers.LCMScheduler and type(own) is not kind.made:
        raise _bad("lcm suits only a model distilled for it, and this one isn't")
    scheduler = kind.of(own.config)
    try:
        scheduler.set_timesteps(whole, device=device)
    except ValueError as err:
        raise _bad(f"{called} can't do {whole} steps with this model") from err
    if len(scheduler.timesteps) != whole:
        raise _bad(f"{called} would do {len(scheduler.timesteps)} steps instead of {whole}")
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skip)  # else it looks its place up by the timestep, and two may be the same
    return scheduler


def _kind(own: Any, name: str) -> Kind:
    found = KINDS.get(name) if name else next((kind for kind in KINDS.values() if kind.made is type(own)), None)
    if found is None:
        said = printable(name) if name else f"the model's own {type(own).__name__}"
        raise _bad(f"no scheduler {said}; there are {', '.join(KINDS)}")
    return found


def _bad(message: str) -> RefusedError:
    return RefusedError(FailCode.BAD_REQUEST, message)
