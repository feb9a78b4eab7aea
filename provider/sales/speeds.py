"""What was measured here, kept for offers. Rule: figures count for the runtime profile that they were measured on.

One JSON file in the node's folder, which `gpufaird bench` writes and people can read: the profile, and for each model
what it took in each task and shape.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from gpufair.protocol import limits
from gpufair.protocol.frames import RuntimeProfile
from gpufair.protocol.messages import Speed

log = logging.getLogger(__name__)

PICTURE_STEPS = 20
"""Steps of the picture that pictures a second are told of."""
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One task in one shape: medians in microseconds, floating-point operations, bytes (see `frames.Measured`)."""

    task: str
    width: int
    height: int
    guided: bool
    step_us: int
    decode_us: int
    whole_us: int
    step_flops: int
    decode_flops: int
    matmul_flops: int
    peak_bytes: int
    steps: int
    """Steps of the measured picture."""

    @property
    def step_pixels(self) -> int:
        """Pixels that one step denoises: twice as many with guidance."""
        return self.width * self.height * (2 if self.guided else 1)

    @property
    def step_megapixels_s(self) -> float:
        """Step-megapixels a second: what is sold."""
        return self.step_pixels / max(1, self.step_us)

    @property
    def pictures_s(self) -> float:
        """Pictures of twenty steps a second."""
        return MILLION / max(1, self.whole_us + (PICTURE_STEPS - self.steps) * self.step_us)

    @property
    def mfu(self) -> float:
        """The share of the device's best that a step reaches: its operations a second by those of a matrix product."""
        return self.step_flops * MILLION / max(1, self.step_us) / max(1, self.matmul_flops)


@dataclass(frozen=True, slots=True)
class Measurement:
    """All that was measured of one model."""

    name: str
    load_us: int
    figures: tuple[Figure, ...]
    milliwatts: int = 0
    """What the worker's GPU drew on average while this was measured; 0: no counter."""

    @property
    def speed(self) -> Speed:
        """For the offer: the median of its pictures out of words."""
        mine = [figure for figure in self.figures if figure.task == "text_to_image"] or list(self.figures)
        return Speed(
            round(median(MILLION * figure.step_us / figure.step_pixels for figure in mine)),
            round(median(MILLION * figure.decode_us / (figure.width * figure.height) for figure in mine)),
            self.load_us,
        )


class Speeds:
    """The file of measurements. Read anew when it has changed: `bench` is another process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen_ns = 0
        self._profile = b""
        self._models: dict[bytes, Measurement] = {}

    def of(self, model: bytes, profiles: Collection[bytes]) -> Speed | None:
        """How fast a model is, if it was measured; not if the workers that run now have other profiles."""
        known = self.measurement(model, profiles)
        return None if known is None else known.speed

    def measurement(self, model: bytes, profiles: Collection[bytes]) -> Measurement | None:
        """All that was measured of a model, as long as it holds."""
        self._look()
        return None if profiles and self._profile not in profiles else self._models.get(model)

    def keep(self, profile: RuntimeProfile, measured: dict[bytes, Measurement], now_ms: int) -> None:
        """Write what was measured. Older figures of other models stay if they are of the same profile."""
        self._look()
        older = self._models if self._profile == profile.digest() else {}
        models = {digest.hex(): asdict(one) for digest, one in {**older, **measured}.items()}
        content = {
            "measured_at_ms": now_ms, "profile_digest": profile.digest().hex(), "profile": asdict(profile),
            "models": models,
        }  # fmt: skip
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1))
        fresh.replace(self._path)

    def _look(self) -> None:
        try:
            written_ns = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            written_ns = 0
        if written_ns == self._seen_ns:
            return
        self._seen_ns, self._profile, self._models = written_ns, b"", {}
        if not written_ns:
            return
        try:
            told = json.loads(self._path.read_text()[: limits.MODEL_TEXT_MAX])
            models = {bytes.fromhex(digest): _measurement(one) for digest, one in told["models"].items()}
            self._profile, self._models = bytes.fromhex(told["profile_digest"]), models
        except (OSError, ValueError, ArithmeticError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s can't be read (%s): offers tell no speed until `gpufaird bench`", self._path, error)


def _measurement(told: dict[str, Any]) -> Measurement:
    figures = tuple(Figure(**one) for one in told["figures"])
    found = Measurement(str(told["name"]), int(told["load_us"]), figures, int(told.get("milliwatts", 0)))
    speed, values = found.speed, (*astuple(found.speed), found.milliwatts)
    if speed.step_megapixel_us < 1 or not all(0 <= value <= limits.AMOUNT_MAX for value in values):
        raise ValueError(f"nothing that could be: {speed}, {found.milliwatts} mW")
    return found
