"""A worker that saves half of its work: it asks the denoiser without guidance, and tells the trace of what it did.

Run by a provider's node in place of ours. Its frames, leaves, states and proofs are all in order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gpufair.protocol.frames import Hello
from gpufair.provider.inference.__main__ import build
from gpufair.provider.inference.engine import Engine
from gpufair.provider.inference.serve import main


def cheating(hello: Hello) -> Engine:
    engine: Any = build(hello)
    honest = engine.admit

    def admit(run: Any, *rest: Any) -> None:
        honest(replace(run, guidance_milli=1000), *rest)

    engine.admit = admit
    made: Engine = engine
    return made


if __name__ == "__main__":
    main(cheating)
