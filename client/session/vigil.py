"""Whether a provider is still at work. Rule: who says nothing is lost, who says that it works and doesn't has stalled.

Pure: it is told what was heard and when, by any clock that only goes forward, in milliseconds. A provider says of each
job every `limits.BEAT_MS` that it has it, so silence means that it is gone, whatever the connection says. A job that
waits for its turn may wait; one that is at work shows a step after so many times as long as the one before it took.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol import limits, matching, timing
from gpufair.protocol.messages import Beat, Down, Offer, Progress, Spec
from gpufair.protocol.units import step_pixels


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a job's parts should take, as its provider measured them; 0: it does not say."""

    step_ms: int = 0
    other_ms: int = 0
    """Loading, encoding, decoding: whatever is no step."""

    @classmethod
    def of(cls, spec: Spec, offer: Offer) -> Pace:
        """What an offer says of a job's parts; nothing where it says nothing."""
        model = matching.model_offer(offer, spec.model)
        if model is None or model.speed is None:
            return cls()
        speed, pixels = model.speed, spec.width * spec.height
        work = step_pixels(steps=1, width=spec.width, height=spec.height, count=1, guided=spec.guided)
        other_us = 2 * pixels * speed.decoded_megapixel_us // timing.MEGAPIXEL + speed.load_us
        return cls(work * speed.step_megapixel_us // timing.MEGAPIXEL // 1_000, other_us // 1_000)


@dataclass
class _Watched:
    pace: Pace
    since_ms: int
    """When it last got further."""
    waits: bool = True
    """Whether it has no turn yet, as far as we know."""
    shown: bool = False
    """Whether it has shown a step since it got its turn."""
    longest_ms: int = 0
    """The longest that a step took."""

    def patience_ms(self) -> int:
        """How long it may show nothing."""
        if not self.shown:
            expected = self.pace.other_ms + self.pace.step_ms
            return max(limits.WORKER_SILENCE_MS, limits.STALLED_FACTOR * expected)
        step_ms = max(self.longest_ms, self.pace.step_ms)
        return max(limits.STALLED_MIN_MS, limits.STALLED_FACTOR * (step_ms + self.pace.other_ms))


class Vigil:
    """What a provider has last said on one stream, of which jobs."""

    def __init__(self, now_ms: int) -> None:
        self.word_ms = now_ms
        """When it last said anything at all, or had nothing to say."""
        self._jobs: dict[bytes, _Watched] = {}

    def watch(self, jobs: dict[bytes, Pace], now_ms: int) -> None:
        """These are the jobs that the provider has; of what was ordered just now nothing can have been heard."""
        if not self._jobs:
            self.word_ms = now_ms
        self._jobs = {job: self._jobs.get(job) or _Watched(pace, now_ms) for job, pace in jobs.items()}

    def heard(self, message: Down, now_ms: int) -> None:
        """The provider said something."""
        self.word_ms = now_ms
        job = self._jobs.get(getattr(message, "job", b""))
        if job is None:
            return
        match message:
            case Beat(ahead=0):
                if job.waits:
                    job.waits, job.shown, job.since_ms = False, False, now_ms
            case Beat():
                job.waits = True
            case Progress():
                if job.shown:
                    job.longest_ms = max(job.longest_ms, now_ms - job.since_ms)
                job.waits, job.shown, job.since_ms = False, True, now_ms
            case _:
                job.since_ms = now_ms  # a delivery, a key: whatever it is, it is something

    def grant(self, job: bytes, now_ms: int, more_ms: int) -> None:
        """Whatever was expected of a job, it has this much more time from now on."""
        at = self._jobs[job]
        at.since_ms = now_ms - at.patience_ms() + more_ms

    def is_lost(self, now_ms: int) -> bool:
        """Whether nothing was said for too long by a provider that has jobs of ours."""
        return bool(self._jobs) and now_ms - self.word_ms >= limits.LOST_MS

    def stalled(self, now_ms: int) -> list[bytes]:
        """The jobs that are at work and got no further for too long."""
        return [job for job, at in self._jobs.items() if not at.waits and now_ms >= _latest_ms(at)]

    def next_look_ms(self, now_ms: int) -> int | None:
        """How long until one of these could be true; None: never, as things stand."""
        ends = [_latest_ms(at) for at in self._jobs.values() if not at.waits]
        ends += [self.word_ms + limits.LOST_MS] if self._jobs else []
        return max(0, min(ends) - now_ms) if ends else None


def _latest_ms(at: _Watched) -> int:
    """When a job must have got further."""
    return at.since_ms + at.patience_ms()
