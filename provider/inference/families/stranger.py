"""Any other text-to-image pipeline of diffusers. Rule: it draws in its own way, and we look on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gpufair.protocol.frames import FailCode
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.families.parts import Keep


def load(folder: Path, dtype: torch.dtype, keep: Keep) -> Any:
    """Refused so far."""
    del folder, dtype, keep
    raise RefusedError(FailCode.MODEL_BAD, "a model of a family that this worker doesn't know")
