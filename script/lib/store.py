"""Images kept between engines. ONE RULE: a tag is a hash of what went in, so what is found is not checked again.

An image is looked for in the engine first, then as a `docker save` archive in the cache folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine import Engine
from house import StepError, cache_dir, say


def image_id(engine: Engine, tag: str) -> str:
    """The `sha256:…` id of a tag in this engine, or an empty string."""
    try:
        return engine.docker("image", "inspect", "--format", "{{.Id}}", tag, timeout=60).strip()
    except StepError:
        return ""


def find(engine: Engine, tag: str) -> str:
    """The image's id, loading it from the cache folder if need be; an empty string when it is nowhere."""
    if known := image_id(engine, tag):
        return known
    archive = _archive(tag)
    if archive.exists():
        say(f"loading {tag} from the cache")
        try:
            engine.docker("load", "--quiet", "--input", archive)
        except StepError:
            # A damaged archive is no reason to stop: it is made again.
            archive.unlink(missing_ok=True)
    return image_id(engine, tag)


KEPT = 2  # archives of one image's earlier versions are a gigabyte each


def save(engine: Engine, tag: str) -> None:
    """Keep an image in the cache folder for the next engine."""
    archive = _archive(tag)
    if archive.exists():
        return
    scratch = archive.with_suffix(f".{os.getpid()}")
    try:
        engine.docker("save", "--output", scratch, tag)
        scratch.rename(archive)
    finally:
        scratch.unlink(missing_ok=True)
    name = tag.partition(":")[0]
    for old in sorted(cache_dir("images").glob(f"{name}-*.tar"), key=lambda path: -path.stat().st_mtime)[KEPT:]:
        old.unlink()


def _archive(tag: str) -> Path:
    return cache_dir("images") / f"{tag.replace(':', '-')}.tar"
