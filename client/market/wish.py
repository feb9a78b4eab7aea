"""What somebody wants. Rule: checked here, once, before anyone is asked; what was left open gets the model's preset."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.client.market.presets import preset
from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import JobBody, ModelOffer, Precision, Scheduler, Spec, Task
from gpufair.protocol.ports import Random

GUIDED_ABOVE_MILLI = 1_000
"""Guidance of one is none: the model is asked once a step instead of twice."""


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
    scheduler: Scheduler = Scheduler.DDIM
    count: int = 1
    preview_every: int = 0
    max_price: int | None = None
    trust_provider_ledger: bool = False

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
        ):
            if value is not None and not low <= value <= high:
                raise LocalError(Fault.MALFORMED, f"{name} is {value}: it must be {low} to {high}")
        for name, side in (("width", self.width), ("height", self.height)):
            if side is not None and side % limits.SIDE_MULTIPLE:
                raise LocalError(Fault.MALFORMED, f"{name} is {side}: it must be a multiple of {limits.SIDE_MULTIPLE}")

    def specs(self, model: ModelOffer) -> tuple[Spec, ...]:
        """The jobs that would fulfil it with this model: one for each precision, the exact one first."""
        usual = preset(model.name, model.family)
        return tuple(
            Spec(
                task=Task.TEXT_TO_IMAGE,
                model=model.digest,
                scheduler=self.scheduler,
                precision=precision,
                width=self.width or usual.side,
                height=self.height or usual.side,
                steps=self.steps or usual.steps,
                count=self.count,
                guided=self.guidance(model) > GUIDED_ABOVE_MILLI,
            )
            for precision in (Precision.EXACT, Precision.HALF)
        )

    def guidance(self, model: ModelOffer) -> int:
        """The guidance, in thousandths."""
        usual = preset(model.name, model.family)
        return usual.guidance_milli if self.guidance_milli is None else self.guidance_milli

    def body(self, model: ModelOffer, random: Random) -> JobBody:
        """What only the provider will see; a seed that was left open is drawn here."""
        drawn = int.from_bytes(random.bytes(4), "big")  # short enough to be read and typed again
        return JobBody(
            salt=random.bytes(limits.SALT_BYTES),
            prompt=self.prompt,
            negative_prompt=self.negative,
            seed=drawn if self.seed is None else self.seed,
            guidance_milli=self.guidance(model),
        )
