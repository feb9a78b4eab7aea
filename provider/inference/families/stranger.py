"""Any other text-to-image pipeline of diffusers. Rule: it draws in its own way, alone, and we only look on.

Its call runs beside ours and is held whenever its scheduler is to make a step, so that each step is told, an attempt
can be stopped between two, and others get their turn. What is told of a step are its latents; what else the pipeline
carries from step to step it keeps to itself, so nothing of it can be taken up again or replayed. It gives no previews.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

from gpufair.protocol.errors import printable
from gpufair.protocol.frames import TEXT_TO_IMAGE, FailCode, Run
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.families import parts
from gpufair.provider.inference.families.held import Held
from gpufair.provider.inference.families.parts import Keep
from gpufair.provider.inference.folder import read_json
from gpufair.provider.inference.request import UNGUIDED_MILLI, Wanted, seed_of
from gpufair.provider.inference.rows import Row
from gpufair.provider.inference.words import Words

IS_OPEN = False
NEEDED = ("prompt", "num_inference_steps", "height", "width", "generator", "output_type")
"""What the call of a pipeline must take to be one from words to a picture of a given size."""
OTHER_KINDS = ("num_frames", "video_length", "mask_image", "control_image", "controlnet_conditioning_scale")
"""What it doesn't take, to be one that needs nothing else and makes one picture."""
AS_ASKED = {"use_resolution_binning": False, "clean_caption": False}
"""Of a pipeline that knows these: the very size and the very words that the job names, not what it prefers."""


@dataclass
class Sitting(Row):
    """A picture in the making by a pipeline's own call."""

    held: Held | None = None

    @property
    def key(self) -> Hashable:
        """Nobody else's: it never shares a call."""
        return self.run.attempt

    @property
    def state(self) -> bytes:
        """The latents. There is more that the next step depends on, and no way to ask for it."""
        data: bytes = self.latents.to("cpu", torch.float32).contiguous().numpy().astype(np.dtype("<f4")).tobytes()
        return data

    def close(self) -> None:
        """End the call, wherever it is."""
        if self.held is not None:
            self.held.end()


def load(folder: Path, dtype: torch.dtype, keep: Keep) -> Any:
    """The pipeline with all of its parts in `dtype`; a part that judges or marks pictures is left out."""
    index = read_json(folder / parts.INDEX)
    kind = _pipeline_class(str(index.get("_class_name")))
    made: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        entry = index.get(name)
        if isinstance(entry, list):
            made[name] = _part(folder / name, entry, dtype, keep)
            if made[name] is None and name not in kind._optional_components:  # noqa: SLF001 - nowhere else told
                raise _bad(f"{parts.INDEX}: {name} is no part of diffusers or transformers that {kind.__name__} needs")
        elif isinstance(entry, bool | int | float | str):
            made[name] = entry
        elif parameter.default is inspect.Parameter.empty:
            raise _bad(f"{parts.INDEX} lacks {name}, which {kind.__name__} needs")
    made |= {"add_watermarker": False} if "add_watermarker" in inspect.signature(kind.__init__).parameters else {}
    if not isinstance(made.get("scheduler"), diffusers.SchedulerMixin):
        raise _bad(f"{kind.__name__} has no scheduler whose steps could be told")
    pipeline = kind(**made)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def read(words: Words, pipeline: Any, run: Run, reading: Wanted) -> torch.Tensor:
    """Nothing: the pipeline reads the prompt by itself."""
    del words, pipeline, run, reading
    return torch.empty(0)


def begin(
    pipeline: Any, run: Run, picture: int, words: torch.Tensor, device: torch.device, inputs: Sequence[bytes] = ()
) -> Row:
    """Picture `picture` of the attempt, before its first step. `RefusedError` for what this pipeline can't do."""
    del device, inputs
    settings = _settings(pipeline, run)
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    own = copy.copy(pipeline)
    own.scheduler = scheduler
    generator = torch.Generator("cpu").manual_seed(seed_of(run, picture))
    held = Held(lambda: own(generator=generator, **settings))
    scheduler.step = _told(scheduler, held, run.steps)
    row = Sitting(run, picture, words, scheduler, generator, torch.empty(0), held=held)
    before = _processors(pipeline)
    row.latents = held.go_on()
    if _processors(pipeline) != before:
        # Its parts may be another model's too, and others draw while this call is held.
        held.end()
        for name, processors in before.items():
            pipeline.components[name].set_attn_processor(dict(processors))
        raise _bad(f"a {type(pipeline).__name__} changes its own parts while it draws")
    return row


def ask(pipeline: Any, rows: Sequence[Row]) -> list[Any]:
    """Have the one pipeline that is asked go on to the end of its next step."""
    del pipeline
    [row] = rows
    return [(_held(row).go_on(),)]


def step(row: Row, latents: torch.Tensor) -> None:
    """Note what the step made."""
    row.latents = latents
    row.step += 1


def glimpse(pipeline: Any, row: Row, prediction: Any) -> Image.Image | None:
    """None: what a model has in mind is read from its latents in a way of its own."""
    del pipeline, row, prediction
    return None


def finish(pipeline: Any, rows: Sequence[Row]) -> list[Image.Image | None]:
    """The picture, decoded as the pipeline does it; None where the model gave no numbers."""
    del pipeline
    [row] = rows
    if not bool(torch.isfinite(row.latents).all()):
        return [None]
    picture = _held(row).finish().images[0]
    if picture.size != (row.run.width, row.run.height):
        made, asked = (f"{width} by {height}" for width, height in (picture.size, (row.run.width, row.run.height)))
        raise _wrong(f"this model made a picture of {made} pixels instead of {asked}: it knows only some sizes")
    return [picture]


def _held(row: Row) -> Held:
    assert isinstance(row, Sitting)
    assert row.held is not None
    return row.held


def _processors(pipeline: Any) -> dict[str, dict[str, Any]]:
    """What computes attention in each part: the one thing of a model that calls are known to exchange."""
    found = {name: getattr(part, "attn_processors", None) for name, part in pipeline.components.items()}
    return {name: dict(processors) for name, processors in found.items() if processors}


def _pipeline_class(name: str) -> Any:
    """The class of diffusers that a model index names, if it makes pictures out of words."""
    kind = getattr(diffusers, name, None) if name.isidentifier() and name.endswith("Pipeline") else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise _bad(f"no pipeline of diffusers: {printable(name)[:80]}")
    taken = inspect.signature(kind.__call__).parameters
    wrong = [f"no {name}" for name in NEEDED if name not in taken] + [name for name in OTHER_KINDS if name in taken]
    for other, parameter in list(taken.items())[1:]:
        is_required = parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        wrong += [other] if is_required and other not in NEEDED else []
    if wrong:
        raise _bad(f"{kind.__name__} makes no picture out of words alone: its call takes {', '.join(wrong)}")
    return kind


def _part(folder: Path, entry: list[Any], dtype: torch.dtype, keep: Keep) -> Any:
    """One part, by its class in diffusers or transformers. None for one that is not needed to draw."""
    kind: Any = None
    match entry:
        case ["diffusers" | "transformers" as library, str(name)] if name.isidentifier():
            kind = getattr(diffusers if library == "diffusers" else transformers, name, None)
    if not isinstance(kind, type):
        return None
    library_class: Any = kind
    if issubclass(kind, diffusers.SchedulerMixin):
        return parts.scheduler(folder)
    if issubclass(kind, diffusers.ModelMixin | transformers.PreTrainedModel):
        return parts.model(library_class, folder, dtype, keep)
    if issubclass(kind, transformers.PreTrainedTokenizerBase):
        return library_class.from_pretrained(folder, local_files_only=True)
    return None


def _settings(pipeline: Any, run: Run) -> dict[str, Any]:
    """What the pipeline is called with. `RefusedError` for an order that it would not follow."""
    taken = inspect.signature(pipeline.__call__).parameters
    unguided = run.guidance_milli <= UNGUIDED_MILLI
    for is_wrong, what in (
        (run.task != TEXT_TO_IMAGE, f"the task {printable(run.task)}"),
        (run.scheduler != "", f"the scheduler {printable(run.scheduler)}; it has its own"),
        (run.first_step or run.skip or run.end_step < run.steps, "part of the steps"),
        (run.negative_prompt and "negative_prompt" not in taken, "a negative prompt"),
        (not unguided and "guidance_scale" not in taken, f"guidance, {run.guidance_milli} thousandths here"),
    ):
        if is_wrong:
            raise _wrong(f"a {type(pipeline).__name__} can't do {what}")
    settings = {"prompt": run.prompt, "num_inference_steps": run.steps, "height": run.height, "width": run.width}
    settings |= {"output_type": "pil", "guidance_scale": run.guidance_milli / UNGUIDED_MILLI, **AS_ASKED}
    settings |= {"negative_prompt": run.negative_prompt} if run.negative_prompt else {}
    return {name: value for name, value in settings.items() if name in taken}


def _told(scheduler: Any, held: Held, steps: int) -> Any:
    """The scheduler's step, held before the first and after each."""
    plain, done = scheduler.step, 0

    @functools.wraps(plain)  # pipelines look at what a step takes
    def step(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        if len(scheduler.timesteps) != steps:
            kind, made = type(scheduler).__name__, len(scheduler.timesteps)
            raise _wrong(f"{kind} would do {made} steps instead of {steps} with this model")
        if not done:
            held.hold(sample)
        result = plain(model_output, timestep, sample, *args, **kwargs)
        done += 1
        held.hold(result[0])
        return result

    return step


def _bad(message: str) -> RefusedError:
    return RefusedError(FailCode.MODEL_BAD, message)


def _wrong(message: str) -> RefusedError:
    return RefusedError(FailCode.BAD_REQUEST, message)
