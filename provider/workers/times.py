"""How long a worker may take. Rule: no wait for a worker is without an end."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol import limits


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds: to come up or to load a model; to say the next thing of an attempt; to answer a question."""

    start_ms: int = limits.WORKER_START_MS
    silence_ms: int = limits.WORKER_SILENCE_MS
    answer_ms: int = limits.WORKER_ANSWER_MS
