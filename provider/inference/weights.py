"""From a model folder to a pipeline in memory. Rule: nothing is parsed before the folder's digest has been checked.

Each part is loaded by a class named here, never by one that the folder names; only safetensors; nothing from a hub.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from gpufair.protocol.content import FileDigest, model_digest
from gpufair.protocol.errors import printable
from gpufair.protocol.frames import FailCode
from gpufair.protocol.limits import MODEL_DEPTH_MAX, MODEL_FILES_MAX, MODEL_TEXT_MAX
from gpufair.provider.inference.device import out_of_memory
from gpufair.provider.inference.engine import RefusedError

FAMILY: Final = "StableDiffusionPipeline"


def load(folder: Path, digest: bytes, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Any, int]:
    """The pipeline in `folder` on `device`, and the bytes of its weights: `dtype`, but for the VAE, which is fp32.

    `RefusedError`: model missing, or model bad (another digest, another family, weights that don't fit).
    """
    if not folder.is_dir():
        raise RefusedError(FailCode.MODEL_MISSING, "there is no such model folder")
    found = model_digest(_files(folder))
    if found != digest:
        raise RefusedError(FailCode.MODEL_BAD, f"the folder's digest is {found.hex()}, not {digest.hex()}")
    family = _json(folder / "model_index.json").get("_class_name")
    if family != FAMILY:
        raise RefusedError(FailCode.MODEL_BAD, f"a model of the family {printable(str(family))[:80]}; known: {FAMILY}")
    try:
        pipeline = _pipeline(folder)
    except RefusedError:
        raise
    except Exception as err:
        # A folder can be wrong in as many ways as the libraries have exceptions.
        if out_of_memory(err):
            raise
        raise RefusedError(FailCode.MODEL_BAD, f"the folder can't be loaded: {type(err).__name__}") from err
    parts: list[Any] = [pipeline.unet, pipeline.vae, pipeline.text_encoder]
    for part in parts:
        # Pictures of well-known models overflow an fp16 VAE.
        part.to(device, torch.float32 if part is pipeline.vae else dtype).eval().requires_grad_(False)
    return pipeline, sum(p.numel() * p.element_size() for part in parts for p in part.parameters())


def _pipeline(folder: Path) -> Any:
    """The parts put together. A safety checker in the folder is not loaded: the provider doesn't judge pictures."""
    options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False, **options)
    vae = AutoencoderKL.from_pretrained(folder / "vae", low_cpu_mem_usage=False, **options)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32, **options)
    for name, (_part, report) in {"unet": unet, "vae": vae, "text_encoder": text}.items():
        if report["missing_keys"] or report.get("mismatched_keys"):
            # Without this check the missing weights would silently be random numbers.
            raise RefusedError(FailCode.MODEL_BAD, f"{name} lacks {len(report['missing_keys'])} of its weights")
    if unet[0].config.time_cond_proj_dim is not None:
        raise RefusedError(FailCode.MODEL_BAD, "a model with built-in guidance is not supported yet")
    return StableDiffusionPipeline(
        unet=unet[0],
        vae=vae[0],
        text_encoder=text[0],
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        scheduler=_own_scheduler(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _own_scheduler(folder: Path) -> Any:
    name = str(_json(folder / "scheduler_config.json").get("_class_name"))
    kind = getattr(diffusers, name, None) if name.isidentifier() and name.endswith("Scheduler") else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise RefusedError(FailCode.MODEL_BAD, f"no such scheduler class: {printable(name)[:80]}")
    scheduler: Any = kind
    return scheduler.from_pretrained(folder, local_files_only=True)


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MODEL_TEXT_MAX:
            raise RefusedError(FailCode.MODEL_BAD, f"{path.name} is larger than {MODEL_TEXT_MAX} bytes")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        raise RefusedError(FailCode.MODEL_BAD, f"{path.name} is missing or no JSON") from err
    if not isinstance(value, dict):
        raise RefusedError(FailCode.MODEL_BAD, f"{path.name} is no JSON object")
    return value


def _files(folder: Path) -> Iterator[FileDigest]:
    """Every file of the folder with its digest: each one counts, and anything else in there is refused."""
    seen = 0
    waiting = [folder]
    while waiting:
        for entry in waiting.pop().iterdir():
            relative = entry.relative_to(folder)
            seen += 1
            if entry.is_symlink() or seen > MODEL_FILES_MAX or len(relative.parts) > MODEL_DEPTH_MAX:
                raise RefusedError(FailCode.MODEL_BAD, "the folder holds a link, or too many or too deep files")
            if entry.is_dir():
                waiting.append(entry)
            elif entry.is_file():
                yield FileDigest(relative.as_posix(), entry.stat().st_size, _sha256(entry))
            else:
                raise RefusedError(FailCode.MODEL_BAD, "the folder holds something that is no file")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
