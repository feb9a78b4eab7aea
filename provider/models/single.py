"""Single-file checkpoints. Rule: the worker's libraries convert them in a process of its own; nothing is fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gpufair.protocol import families, limits
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.provider.models import checks, tensors

MODULE: Final = "gpufair.provider.inference.convert"
REFUSED: Final = 65
"""How it ends when the checkpoint is not of the base's make; the reason is on its stdout."""
MAKER: Final = "stable_diffusion"
"""The family that single files are converted for (see `protocol.families`)."""
NEEDED: Final = ("torch", "diffusers", "transformers", "safetensors")
KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR")
"""All that it learns of our environment: no secret, no proxy."""


def is_checkpoint(names: Iterable[str]) -> bool:
    """Whether tensors of these names look like a whole Stable Diffusion checkpoint in one file."""
    return any(name.startswith("model.diffusion_model.") for name in names)


def check(file: Path, base: Path) -> None:
    """`PeerError` unless the file is safetensors that look like such a checkpoint, and the base a folder to be like."""
    checks.regular(file)
    if file.stat().st_size > limits.MODEL_BYTES_MAX:
        raise PeerError(Fault.TOO_LARGE, f"{file.name} is larger than {limits.MODEL_BYTES_MAX} bytes")
    if not is_checkpoint(tensors.read_header(file).shapes):
        raise PeerError(
            Fault.WRONG_TYPE,
            f"{file.name} is no Stable Diffusion checkpoint: it holds no model.diffusion_model.…",
            hint="single files of Stable Diffusion 1.x and 2.x are taken, and LoRAs",
        )

    checks.content(base)
    family = checks.family(base / checks.INDEX)
    if families.family(family).maker != MAKER:
        raise PeerError(Fault.WRONG_TYPE, f"the base is a {family}: a single file can only be like a Stable Diffusion")


def convert(file: Path, base: Path, target: Path) -> None:
    """Make a folder like `base` in `target` from a checkpoint. Both were checked before.

    `PeerError` if the checkpoint is not of the base's make, `LocalError` if this machine can't convert.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        what = f"a single file can't be converted here: {', '.join(missing)} is not installed"
        raise LocalError(Fault.UNAVAILABLE, what, hint='pip install "gpufair[inference]"')
    command = [sys.executable, "-P", "-m", MODULE, *(str(path.resolve()) for path in (file, base, target))]
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    env |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    try:
        done = subprocess.run(  # noqa: S603 -- our own module
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=limits.CONVERT_MAX_MS / 1000,
        )  # fmt: skip
    except subprocess.TimeoutExpired as err:
        raise LocalError(Fault.UNAVAILABLE, f"converting {file.name} took more than {err.timeout:.0f} s") from err
    if done.returncode == REFUSED:
        raise PeerError(Fault.WRONG_TYPE, f"{file.name}: {done.stdout.strip()[:400]}", hint="is it --like another?")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise LocalError(Fault.INTERNAL, f"{file.name} could not be converted: {last[:300]}")
