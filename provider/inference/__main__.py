"""`python -m gpufair.provider.inference`: the worker. Rule: frames own stdin and stdout before torch is imported."""

from __future__ import annotations

import gc
import os

from gpufair.protocol.frames import Hello
from gpufair.provider.inference.engine import Engine
from gpufair.provider.inference.serve import main


def build(hello: Hello) -> Engine:
    """The torch engine; imported late, because that takes seconds and may print."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DIFFUSERS_OFFLINE": "1"}
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": str(hello.threads)}
    # What three thousand modules make stays: to look for garbage in it again and again is a fifth of the start.
    gc.disable()
    from gpufair.provider.inference.torch_engine import TorchEngine

    engine = TorchEngine(hello)
    gc.freeze()
    gc.enable()
    return engine


if __name__ == "__main__":
    main(build)
