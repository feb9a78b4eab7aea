"""A picture in the making as bytes. Rule: whoever has a row's state and its order can go on, to the bit.

A state is the row's latents, then every tensor that its scheduler's next step reads, oldest first: fp32, little-endian,
NCHW, absent ones left out. It is what a leaf of the trace commits to, and what a job is taken up again from. Counters
are not in it, for they follow from the number of steps done; nor are random numbers, for they come from the picture's
seed: so many are drawn again as the steps before did draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import diffusers
import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from gpufair.protocol.frames import FailCode
from gpufair.provider.inference.engine import RefusedError

if TYPE_CHECKING:
    from gpufair.provider.inference.rows import Row

FLOAT_BYTES = 4

Tensors = list[torch.Tensor]


@dataclass(frozen=True)
class Memory:
    """What a kind of scheduler remembers between two steps.

    `count` is the number of tensors after so many steps; `get` gives them, oldest first; `put` makes a scheduler with
    begin index set remember them. `draws` says whether each step draws noise of the latents' shape.
    """

    draws: bool = False
    count: Callable[[Any, int], int] = lambda _scheduler, _done: 0
    get: Callable[[Any], Tensors] = lambda _scheduler: []
    put: Callable[[Any, int, Tensors], None] = lambda _scheduler, _done, _tensors: None


def _dpm_count(scheduler: Any, done: int) -> int:
    return min(done, int(scheduler.config.solver_order) - 1)


def _dpm_get(scheduler: Any) -> Tensors:
    """The denoiser's last answers. The oldest of the list is forgotten before the next step reads it."""
    return [output for output in scheduler.model_outputs[1:] if output is not None]


def _dpm_put(scheduler: Any, done: int, tensors: Tensors) -> None:
    order = scheduler.config.solver_order
    scheduler.model_outputs = [*[None] * (order - len(tensors)), *tensors]
    scheduler.lower_order_nums = min(done, order)


def _unipc_count(scheduler: Any, done: int) -> int:
    return min(done, int(scheduler.config.solver_order)) + bool(done)


def _unipc_get(scheduler: Any) -> Tensors:
    """The denoiser's last answers, all of which the corrector reads, and the sample that it corrects."""
    return [tensor for tensor in (*scheduler.model_outputs, scheduler.last_sample) if tensor is not None]


def _unipc_put(scheduler: Any, done: int, tensors: Tensors) -> None:
    order = scheduler.config.solver_order
    outputs, scheduler.last_sample = tensors[:-1], tensors[-1] if tensors else None
    absent = order - len(outputs)
    scheduler.model_outputs = [*[None] * absent, *outputs]
    scheduler.lower_order_nums = min(done, order)
    last = scheduler.begin_index + done - 1
    # The pace of the step before: the corrector of the next one goes by it.
    slowing = min(order, len(scheduler.timesteps) - last) if scheduler.config.lower_order_final else order
    scheduler.this_order = min(slowing, done)
    scheduler.timestep_list = [*[None] * absent, *scheduler.timesteps[last + 1 - len(outputs) : last + 1]]


_NONE: Final = Memory()
_NOISY: Final = Memory(draws=True)
MEMORIES: Final[dict[Any, Memory]] = {
    diffusers.DDIMScheduler: _NONE,
    diffusers.EulerDiscreteScheduler: _NONE,
    diffusers.EulerAncestralDiscreteScheduler: _NOISY,
    diffusers.LCMScheduler: _NOISY,
    diffusers.DPMSolverMultistepScheduler: Memory(count=_dpm_count, get=_dpm_get, put=_dpm_put),
    diffusers.UniPCMultistepScheduler: Memory(count=_unipc_count, get=_unipc_get, put=_unipc_put),
}


def state(row: Row) -> bytes:
    """All that the row's next step depends on beside its order, as bytes."""
    return b"".join(_bytes(tensor) for tensor in tensors(row))


def tensors(row: Row) -> Tensors:
    """What the row's state is made of, the latents first."""
    return [row.latents, *MEMORIES[type(row.scheduler)].get(row.scheduler)]


def restore(row: Row, step: int, data: bytes) -> None:
    """Make a row that has just begun (`rows.begin`) one that has done `step` steps and had the state `data` then.

    `RefusedError` (checkpoint wrong) for a step that its order doesn't have, and for bytes that can't be that state.
    """
    if not 0 <= step <= row.run.steps:
        raise _bad(f"a state after step {step} of {row.run.steps}")
    memory, shape = MEMORIES[type(row.scheduler)], tuple(row.latents.shape)
    count = 1 + memory.count(row.scheduler, step)
    due = count * row.latents.numel() * FLOAT_BYTES
    if len(data) != due:
        raise _bad(f"a state of {len(data)} bytes, after step {step} it has {due}")
    numbers = torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32)).reshape(count, *shape)
    if not bool(torch.isfinite(numbers).all()):
        raise _bad(f"the state after step {step} has numbers that are not finite")
    # Each lies in memory as the first latents did: it changes no number, but a convolution's last bit goes by it.
    row.latents, *rest = [torch.empty_like(row.latents).copy_(one) for one in numbers]
    memory.put(row.scheduler, step, rest)
    if hasattr(row.scheduler, "_step_index"):
        row.scheduler._step_index = row.run.skip + step  # noqa: SLF001 - diffusers has no other way to it
    for _ in range(step if memory.draws else 0):
        randn_tensor(shape, generator=row.generator, device=row.latents.device, dtype=torch.float32)
    row.step = step


def _bytes(tensor: torch.Tensor) -> bytes:
    plain: bytes = tensor.to("cpu", torch.float32).contiguous().numpy().astype("<f4", copy=False).tobytes()
    return plain


def _bad(message: str) -> RefusedError:
    return RefusedError(FailCode.CHECKPOINT_WRONG, message)
