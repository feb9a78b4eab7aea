"""What a GPU has drawn, by its own counter. Rule: no counter is an answer (None), not an error, and never a guess."""

from __future__ import annotations

import contextlib
from typing import Protocol

from gpufair.protocol.ports import Clock


class EnergyCounter(Protocol):
    """Counts energy."""

    def millijoules(self) -> int | None:
        """All that was drawn since some moment in the past; None where nobody counts."""
        ...


class NoCounter:
    """A processor, whose counters (RAPL) need rights that a node should not have."""

    def millijoules(self) -> int | None:
        """Nobody counts."""
        return None


class NvmlCounter:
    """The counter of one NVIDIA GPU, since its driver was loaded; Volta and newer have one."""

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid

    def millijoules(self) -> int | None:
        """What the whole board has drawn."""
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(self._uuid)
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except pynvml.NVMLError:
            return None
        finally:
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


def counter(gpu: str | None) -> EnergyCounter:
    """The counter of a worker's GPU, or of none."""
    return NvmlCounter(gpu) if gpu else NoCounter()


class Meter:
    """What was drawn on average since this was made."""

    def __init__(self, counted: EnergyCounter, clock: Clock) -> None:
        self._counter, self._clock = counted, clock
        self._since_ms, self._before = clock.now_ms(), counted.millijoules()

    def milliwatts(self) -> int:
        """The average; 0 where nobody counts, or the counter went back (its driver was loaded anew)."""
        now, took_ms = self._counter.millijoules(), self._clock.now_ms() - self._since_ms
        if now is None or self._before is None or took_ms <= 0:
            return 0
        return max(0, (now - self._before) * 1_000 // took_ms)
