"""The null worker at a pace, so many milliseconds a step: there is time to interfere. Run alone, never imported."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from gpufair.protocol.frames import FromWorker, Run, Step
from gpufair.provider.inference.engine import Tell
from gpufair.provider.inference.null import NullEngine
from gpufair.provider.inference.serve import main

PACE_S = int(sys.argv[1]) / 1000


class PacedEngine(NullEngine):
    """Rests after each step."""

    def admit(self, run: Run, inputs: Sequence[bytes], tell: Tell, cancelled: Callable[[], bool]) -> None:
        """As the null worker, more slowly."""

        def slowly(frame: FromWorker) -> None:
            tell(frame)
            if isinstance(frame, Step):
                time.sleep(PACE_S)

        super().admit(run, inputs, slowly, cancelled)


if __name__ == "__main__":
    main(PacedEngine)
