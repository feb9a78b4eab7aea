"""A model's parts, one by one. Rule: safetensors alone, nothing from a hub, and no weight that the file lacks.

Libraries fill in what is missing with random numbers and a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import PreTrainedModel

from gpufair.protocol.errors import printable
from gpufair.protocol.frames import FailCode
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.folder import read_json

INDEX = "model_index.json"


Keep = Callable[[str, Path, torch.dtype, Callable[[], Any]], Any]
"""Gives a part by class, folder and arithmetic: the one that another model holds too, or what the callable makes."""


def model(kind: Any, folder: Path, dtype: torch.dtype, keep: Keep) -> Any:
    """The part of class `kind` in the folder, for use and not for training."""
    return keep(kind.__name__, folder, dtype, lambda: _made(kind, folder, dtype))


def _made(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    if issubclass(kind, PreTrainedModel):
        part, report = kind.from_pretrained(folder, dtype=dtype, **options)
    else:
        part, report = kind.from_pretrained(folder, low_cpu_mem_usage=False, **options)
    if report["missing_keys"] or report.get("mismatched_keys"):
        raise RefusedError(FailCode.MODEL_BAD, f"{folder.name} lacks {len(report['missing_keys'])} of its weights")
    return part.to(dtype).eval().requires_grad_(False)


def scheduler(folder: Path) -> Any:
    """The scheduler that the model brings along, of whatever class of diffusers its configuration names."""
    name = str(read_json(folder / "scheduler_config.json").get("_class_name"))
    kind = getattr(diffusers, name, None) if name.isidentifier() and name.endswith("Scheduler") else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise RefusedError(FailCode.MODEL_BAD, f"no such scheduler class: {printable(name)[:80]}")
    known: Any = kind
    return known.from_pretrained(folder, local_files_only=True)
