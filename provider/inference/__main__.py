"""`python -m gpufair.provider.inference`: the worker. Rule: frames own stdin and stdout before torch is imported."""

from __future__ import annotations

import os

from gpufair.protocol.frames import Hello
from gpufair.provider.inference.engine import Engine
from gpufair.provider.inference.serve import main


def build(hello: Hello) -> Engine:
    """The torch engine; imported late, because that takes seconds and may print."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DIFFUSERS_OFFLINE": "1"}
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": str(hello.threads)}
    from gpufair.provider.inference.torch_engine import TorchEngine

    return TorchEngine(hello)


if __name__ == "__main__":
    main(build)
