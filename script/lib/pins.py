"""Writes the two pin files from what the venv holds. ONE RULE: what was tested together is what gets installed.

After changing a dependency: let pip update the venv by hand, run the tests, then `.venv/bin/python script/lib/pins.py`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution, distributions

from house import ROOT, main
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

CONSTRAINTS = ROOT / "script" / "constraints.txt"
WORKER = ROOT / "docker" / "requirements.txt"
# What the worker imports, and what it never does: fetching from hubs, command lines, building extensions.
WORKER_ROOTS = ("torch", "diffusers", "transformers", "safetensors", "pillow", "protobuf")
WORKER_WITHOUT = {
    "annotated-doc", "hf-xet", "markdown-it-py", "mdurl", "pygments", "rich", "setuptools", "shellingham", "typer",
}  # fmt: skip
NOT_PINNED = {"gpufair", "pip", "wheel"}


def public(version: str) -> str:
    """A version without its local part: torch's `+cpu` is chosen per machine."""
    return version.partition("+")[0]


def closure(roots: tuple[str, ...], without: set[str]) -> dict[str, str]:
    """Installed name -> version of the roots and all that they require, `without` left out."""
    found: dict[str, str] = {}
    todo = list(roots)
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found or name in without:
            continue
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = public(dist.version)
        for text in dist.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


def write_out(path_text: str, pins: dict[str, str]) -> str:
    return f"# {path_text}\n" + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins))


def body(_args: list[str]) -> int:
    everything: dict[str, str] = {canonicalize_name(d.name): public(d.version) for d in distributions()}
    pins: dict[str, str] = {name: version for name, version in everything.items() if name not in NOT_PINNED}
    note = "Written by script/lib/pins.py from a tested venv; torch's build (CPU or CUDA) is chosen by script/setup."
    CONSTRAINTS.write_text(write_out(note, pins))
    note = "Written by script/lib/pins.py: all that the worker image holds, besides gpufair's own wheel."
    WORKER.write_text(write_out(note, closure(WORKER_ROOTS, WORKER_WITHOUT)))
    return 0


if __name__ == "__main__":
    main(body)
