"""The worker image. ONE RULE: its tag is the hash of all that went in; the same content is never built twice."""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import store
import wheels
from base_image import base_image
from engine import Engine
from house import ROOT, StepError, digest, machine, say

RECIPE = ROOT / "docker" / "Dockerfile"


def worker_image(engine: Engine, python: Path, *, build: str, yes: bool) -> tuple[str, str]:
    """The ids (`sha256:…`) of the base image and of the worker image in this engine, made if they are missing.

    `python` is the venv's, whose pip collects the wheels. Raises `StepError`.
    """
    base = base_image(engine, yes=yes)
    packages = f"gpufair-packages:{digest([base, _recipe(), machine(), *wheels.pins(wheels.WORKER_PINS, build)])}"
    if not store.find(engine, packages):
        say(f"building {packages} (torch and diffusers; some minutes)")
        _build(engine, base, packages, "packages", build, lambda into: wheels.image_wheels(python, build, into))
        store.save(engine, packages)
    worker = f"gpufair-worker:{_own_key(packages)}"
    if not store.image_id(engine, worker):
        say(f"building {worker} (our own wheel)")
        _build(
            engine, packages, worker, "gpufair", build, lambda into: wheels.own_wheel(python, build, into), _sources()
        )  # fmt: skip
    return store.image_id(engine, base), store.image_id(engine, worker)


def _recipe() -> str:
    return RECIPE.read_text()


def _sources() -> dict[str, str]:
    """The label that lets a node see whether its image fits: the node's own module works out what it says."""
    module = runpy.run_path(str(ROOT / "provider" / "workers" / "sources.py"))
    return {module["LABEL"]: module["digest"](ROOT)}


def _own_key(packages: str) -> str:
    parts: list[str | bytes] = [packages, *_sources()]  # an image without the label is another image
    for path in wheels.worker_sources():
        parts += [str(path.relative_to(ROOT)), path.read_bytes()]
    return digest(parts)


def _build(
    engine: Engine, base: str, tag: str, layer: str, build: str, fill: Callable[[Path], None],
    labels: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Build one layer of the recipe from a folder that `fill` puts the wheels in."""
    with tempfile.TemporaryDirectory(prefix="gpufair-image-") as name:
        context = Path(name)
        fill(context)
        arguments = {"BASE_IMAGE": base, "LAYER": layer, "FLAVOUR": build}
        flags = [flag for key, value in arguments.items() for flag in ("--build-arg", f"{key}={value}")]
        # By flag and not in the recipe: it is not to be known before the packages are built, which take minutes.
        flags += [flag for key, value in (labels or {}).items() for flag in ("--label", f"{key}={value}")]
        command = ["build", "--network", "none", "--force-rm", "--file", str(RECIPE), "--tag", tag, *flags, name]
        try:
            engine.docker(*command, log=f"docker-build-{layer}", timeout=1800)
        finally:
            _prune(engine)


def _prune(engine: Engine) -> None:
    """Remove what the recipe's first stage left; the label makes sure that it is ours."""
    try:
        engine.docker("image", "prune", "--force", "--filter", "label=gpufair.part=builder", timeout=120)
    except StepError as trouble:
        say(f"left-overs of the build stay in the engine: {trouble.what.splitlines()[0]}")
