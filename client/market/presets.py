"""What a kind of model does well. Rule: only defaults that the plan shows and an option overrides; never a limit.

Names and families come from providers, so a wrong one can make for a poor default and for nothing worse.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """Side in pixels, steps, and guidance in thousandths. `fixed`: it draws well in this one size."""

    side: int
    steps: int
    guidance_milli: int
    fixed: bool = False


_DEMO = Preset(64, 20, 2_500, fixed=True)
_BY_NAME = {"demo": _DEMO, "emoji64": _DEMO}
_BY_FAMILY = {
    "StableDiffusionPipeline": Preset(512, 25, 7_500),
    "StableDiffusionXLPipeline": Preset(1024, 30, 7_000),
}
_OTHERWISE = Preset(512, 25, 7_500)


def preset(name: str, family: str) -> Preset:
    """The preset of a model by its name, else its family, else a middling one."""
    return _BY_NAME.get(name.lower()) or _BY_FAMILY.get(family) or _OTHERWISE
