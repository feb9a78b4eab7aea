"""What somebody wants. Rule: checked here, once, before anyone is asked; what was left open gets the model's preset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gpufair.client.config import Manner
from gpufair.client.market.presets import Preset, preset
from gpufair.client.market.stake import USUAL, Stake
from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import Adapter, Input, JobBody, ModelOffer, Precision, Scheduler, Spec, Task
from gpufair.protocol.ports import Random
from gpufair.protocol.search.filters import EVERY, Search
from gpufair.protocol.search.strategies import Strategy

GUIDED_ABOVE_MILLI = 1_000
"""Guidance of one is none: the model is asked once a step instead of twice."""


STRENGTH_MILLI = {Task.IMAGE_TO_IMAGE: 600, Task.INPAINT: 1_000}
"""How much is made anew unless somebody says: half and a bit of a picture, all of what a mask shows."""
WEIGHT_MILLI = 1_000
_WEIGHT_MAX_MILLI = 8_000
_FINEST_FIRST = (Precision.EXACT, Precision.SINGLE, Precision.HALF)


class Beginning(Protocol):
    """What a picture begins from (see `gpufair.client.pictures.inputs`)."""

    @property
    def task(self) -> Task:
        """What it asks for."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """The job's width and height that suit it best. Raises LocalError if no job is so large."""
        ...

    def inputs(self, width: int, height: int) -> tuple[Input, ...]:
        """The inputs of a job of this size. Raises LocalError if none can be made."""
        ...

    def words(self, width: int, height: int) -> str:
        """What is done for that, for people."""
        ...


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA that is wanted, by name or the first digits of its digest, and its weight in thousandths."""

    name: str
    weight_milli: int = WEIGHT_MILLI


@dataclass(frozen=True, slots=True)
class Wish:
    """A picture that somebody wants. None means: as suits the model. Prices are micro-credits."""

    prompt: str
    negative: str = ""
    model: str = ""
    """A model's name, or the first digits of its digest; empty: the config's, or the only one on sale."""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_milli: int | None = None
    seed: int | None = None
    scheduler: Scheduler | None = None
    count: int = 1
    preview_every: int = 0
    max_price: int | None = None
    trust_provider_ledger: bool = False
    precision: Precision | None = None
    """None: the finest that is sold."""
    begin: Beginning | None = None
    """What to begin from; None: from noise."""
    strength_milli: int | None = None
    """How much of what it begins from is made anew, in thousandths."""
    loras: tuple[Lora, ...] = ()
    where: Search = EVERY
    """What its provider must have; model and task are the wish's own."""
    strategy: Strategy | None = None
    """Which offer is the best; None: as the config says."""
    checkpoint_every: int | None = None
    """Steps after which a picture's state is bought, so that a lost provider costs no more; None: as its time says."""
    stake: Stake = USUAL
    """How the job is to be served, and what is bid for that."""
    manner: Manner | None = None
    """How far to go with a provider that declines; None: as the config says."""

    @property
    def task(self) -> Task:
        """What is asked for."""
        return Task.TEXT_TO_IMAGE if self.begin is None else self.begin.task

    def check(self) -> None:
        """Raise LocalError for anything out of bounds, with the bounds."""
        for name, text in (("prompt", self.prompt), ("negative prompt", self.negative)):
            try:
                size = len(text.encode("utf-8"))
            except UnicodeEncodeError as error:
                raise LocalError(Fault.MALFORMED, f"the {name} is not text in UTF-8") from error
            if size > limits.PROMPT_MAX:
                raise LocalError(Fault.TOO_LARGE, f"the {name} has {size} bytes, at most {limits.PROMPT_MAX}")
        if not self.prompt.strip():
            raise LocalError(Fault.MALFORMED, "the prompt is empty", hint='say what to draw: "a fox on a green field"')
        for name, value, low, high in (
            ("width", self.width, limits.SIDE_MIN, limits.SIDE_MAX),
            ("height", self.height, limits.SIDE_MIN, limits.SIDE_MAX),
            ("steps", self.steps, 1, limits.STEPS_MAX),
            ("guidance", self.guidance_milli, 0, limits.GUIDANCE_MILLI_MAX),
            ("seed", self.seed, 0, 2**63 - 1),
            ("count", self.count, 1, limits.COUNT_MAX),
            ("preview", self.preview_every, 0, limits.STEPS_MAX),
            ("max price", self.max_price, 0, limits.AMOUNT_MAX),
            ("checkpoint", self.checkpoint_every, 0, limits.STEPS_MAX),
            ("strength in thousandths", self.strength_milli, 1, 1_000),
            ("number of LoRAs", len(self.loras), 0, limits.ADAPTERS_MAX),
            *((f"weight of {one.name!r} in thousandths", one.weight_milli, -_WEIGHT_MAX_MILLI, _WEIGHT_MAX_MILLI)
              for one in self.loras),
        ):  # fmt: skip
            if value is not None and not low <= value <= high:
                raise LocalError(Fault.MALFORMED, f"{name} is {value}: it must be {low} to {high}")
        for name, side in (("width", self.width), ("height", self.height)):
            if side is not None and side % limits.SIDE_MULTIPLE:
                raise LocalError(Fault.MALFORMED, f"{name} is {side}: it must be a multiple of {limits.SIDE_MULTIPLE}")
        if self.begin is None and self.strength_milli is not None:
            what = "strength says how much of an image is made anew, and there is no image"
            raise LocalError(Fault.MALFORMED, what, hint="give the image too")

    def specs(self, model: ModelOffer, adapters: tuple[Adapter, ...] = ()) -> tuple[Spec, ...]:
        """The jobs that would fulfil it with this model: one for each precision that will do, the finest first.

        `adapters` are the wish's LoRAs as somebody offers them. Raises LocalError for an image that is too large.
        """
        usual = preset(model.name, model.family)
        width, height = self._size(usual)
        steps, skip = self._steps(usual)
        return tuple(
            Spec(
                task=self.task,
                model=model.digest,
                scheduler=self._scheduler(model),
                precision=precision,
                width=width,
                height=height,
                steps=steps,
                count=self.count,
                guided=self.guidance(model) > GUIDED_ABOVE_MILLI,
                adapters=adapters,
                skip=skip,
            )
            for precision in ((self.precision,) if self.precision else _FINEST_FIRST)
        )

    def _size(self, usual: Preset) -> tuple[int, int]:
        """As it was asked for, else that of the image to begin from, else the model's own."""
        if self.width and self.height:
            return self.width, self.height
        width, height = (usual.side, usual.side) if self.begin is None or usual.fixed else self.begin.size
        return self.width or width, self.height or height

    def _steps(self, usual: Preset) -> tuple[int, int]:
        """How many steps are computed, and how many skipped: 20 at a strength of 0.6 are 12 and 8."""
        whole = self.steps or usual.steps
        strength = self.strength_milli or STRENGTH_MILLI.get(self.task, 1_000)
        steps = max(1, whole * strength // 1_000)
        return steps, whole - steps

    def _scheduler(self, model: ModelOffer) -> Scheduler:
        """The one that was asked for, else DDIM, else what suits the model."""
        suits = model.schedulers or (Scheduler.DDIM,)
        return self.scheduler or (Scheduler.DDIM if Scheduler.DDIM in suits else suits[0])

    def guidance(self, model: ModelOffer) -> int:
        """The guidance, in thousandths."""
        usual = preset(model.name, model.family)
        return usual.guidance_milli if self.guidance_milli is None else self.guidance_milli

    def inputs(self, spec: Spec) -> tuple[Input, ...]:
        """What the job begins from. Raises LocalError if that can't be made of what there is."""
        return () if self.begin is None else self.begin.inputs(spec.width, spec.height)

    def body(self, model: ModelOffer, spec: Spec, random: Random) -> JobBody:
        """What only the provider will see; a seed that was left open is drawn here."""
        drawn = int.from_bytes(random.bytes(4), "big")  # short enough to be read and typed again
        return JobBody(
            salt=random.bytes(limits.SALT_BYTES),
            prompt=self.prompt,
            negative_prompt=self.negative,
            seed=drawn if self.seed is None else self.seed,
            guidance_milli=self.guidance(model),
            inputs=self.inputs(spec),
        )
