"""Wheels, collected once. ONE RULE: host and image install from a folder of pinned wheels, not an index.

torch comes in builds: `cpu` without an NVIDIA driver, `cuda` with one. PyPI's for Linux is CUDA: several gigabytes.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tomllib
from pathlib import Path

from house import ROOT, StepError, cache_dir, digest, fresh_folder, has_nvidia_driver, machine, run, say

CONSTRAINTS = ROOT / "script" / "constraints.txt"
WORKER_PINS = ROOT / "docker" / "requirements.txt"
EXTRAS = ("provider", "inference", "dev")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
IMAGE_PYTHON = "3.11"
IMAGE_GLIBC = 36  # Debian 12: wheels up to manylinux_2_36 run in the image


def flavour() -> str:
    """Which build of torch belongs on this machine: `cpu` or `cuda`."""
    return "cuda" if has_nvidia_driver() else "cpu"


def pins(path: Path, build: str) -> list[str]:
    """The pinned requirements of a file, torch's build made exact."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [_torch(line, build) if line.startswith("torch==") else line for line in lines]


def _torch(pin: str, build: str) -> str:
    # macOS has no separate CPU build: what PyPI gives there is it.
    return f"{pin}+cpu" if build == "cpu" and platform.system() == "Linux" else pin


def requirements() -> list[str]:
    """All that the project asks for in pyproject.toml: core, the three extras, and what building needs."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[str] = [*data["build-system"]["requires"], *data["project"]["dependencies"]]
    for extra in EXTRAS:
        found += data["project"]["optional-dependencies"][extra]
    return found


def host_wheels(python: Path, build: str) -> Path:
    """The folder of wheels for this machine's venv, filled by `python -m pip` if it isn't there. Raises `StepError`."""
    tag = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = digest([*requirements(), *pins(CONSTRAINTS, build), platform.system(), machine(), tag])
    folder = cache_dir("wheels") / key
    if not folder.is_dir():
        say(f"collecting wheels for the host ({build} build of torch)")
        with fresh_folder(folder) as scratch:
            _collect_torch(python, build, scratch, [])
            exact = scratch / "constraints.txt"
            exact.write_text("\n".join(pins(CONSTRAINTS, build)) + "\n")
            _pip(python, "wheel", "--wheel-dir", scratch, "--find-links", scratch, "-c", exact, *requirements())
    return folder


def image_wheels(python: Path, build: str, into: Path) -> None:
    """Put the image's wheels into a folder: the host's own where they fit, fetched where not. Raises `StepError`."""
    target = _image_target()
    wanted = pins(WORKER_PINS, build)
    try:
        found: list[str | Path] = ["--no-index", "--find-links", host_wheels(python, build)]
        _pip(python, "download", *found, "--no-deps", "--dest", into, *target, *wanted)
    except StepError:
        # The host has another Python than the image: the same versions, built for the image's.
        say(f"collecting the image's wheels for Python {IMAGE_PYTHON}")
        _collect_torch(python, build, into, target)
        rest = [pin for pin in wanted if not pin.startswith("torch==")]
        _pip(python, "download", "--no-deps", "--dest", into, *target, *rest)
    if build == "cuda":
        # The CUDA libraries are packages of their own, which only torch's own metadata names.
        torch = next(pin for pin in wanted if pin.startswith("torch=="))
        _pip(python, "download", "--dest", into, "--find-links", into, "-c", CONSTRAINTS, *target, torch)
        for unused in into.glob("setuptools-*"):
            unused.unlink()


def _collect_torch(python: Path, build: str, into: Path, target: list[str]) -> None:
    torch = next(pin for pin in pins(CONSTRAINTS, build) if pin.startswith("torch=="))
    fetch: list[str | Path] = ["download", "--no-deps", "--dest", into, *target, torch]
    try:
        _pip(python, *fetch)
    except StepError:
        if build != "cpu":
            raise
        # PyPI holds no `+cpu`; the makers of torch keep those builds on an index of their own.
        say(f"fetching {torch} from {CPU_INDEX}")
        _pip(python, *fetch, "--index-url", CPU_INDEX)


def _image_target() -> list[str]:
    arch = machine() if platform.system() == "Linux" else "x86_64"
    names = [f"manylinux_2_{minor}_{arch}" for minor in range(IMAGE_GLIBC, 4, -1)]
    names += [f"manylinux{old}_{arch}" for old in ("2014", "2010", "1")] + [f"linux_{arch}"]
    flags = ["--only-binary=:all:", "--implementation=cp", f"--python-version={IMAGE_PYTHON}"]
    return flags + [f"--platform={name}" for name in names]


def own_wheel(python: Path, build: str, into: Path) -> None:
    """Build gpufair's wheel as the worker has it: the pure protocol and the inference core, nothing else."""
    tree = into / "tree"
    for path in worker_sources():
        copy = tree / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (tree / "README.md").touch()  # pyproject.toml names it; its text must not make another image
    found: list[str | Path] = ["--no-index", "--find-links", host_wheels(python, build)]
    _pip(python, "wheel", *found, "--no-deps", "--wheel-dir", into, tree, env={"SOURCE_DATE_EPOCH": "315532800"})
    shutil.rmtree(tree)


def worker_sources() -> list[Path]:
    """The files that go into the worker image's gpufair wheel, in a fixed order."""
    found = [ROOT / name for name in ("pyproject.toml", "setup.py", "LICENSE")]
    found += [ROOT / "provider" / "__init__.py"]
    for room in ("protocol", "provider/inference"):
        found += [p for p in sorted((ROOT / room).rglob("*")) if "__pycache__" not in p.parts]
    edge = ROOT / "protocol" / "edge"
    return [p for p in found if p.is_file() and edge not in p.parents]


def _pip(python: Path, *args: str | Path, env: dict[str, str] | None = None) -> None:
    base: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run([*base, *args], log=f"pip-{args[0]}", env=env, timeout=3600)
