"""The virtual environment. ONE RULE: it follows pyproject.toml and the pins; unchanged, nothing is done.

Run as `python script/lib/environment.py`; `ensure()` is what the other scripts call.
"""

from __future__ import annotations

import compileall
import shutil
import sys
from pathlib import Path

import wheels
from house import ROOT, VENV, StepError, digest, main, run, say, succeeds

PYTHON = VENV / "bin" / "python"
STAMP = VENV / "gpufair-stamp"
ROOMS = ("protocol", "provider", "client")


def ensure() -> Path:
    """Bring `.venv` up to date and return its Python. Raises `StepError`."""
    build = wheels.flavour()
    key = _key(build)
    if not (STAMP.exists() and STAMP.read_text() == key and PYTHON.exists()):
        _create()
        folder = wheels.host_wheels(PYTHON, build)
        say("installing into .venv (a minute or two)")
        extras = ",".join(wheels.EXTRAS)
        found: list[str | Path] = ["--no-index", "--find-links", folder, "--constraint", folder / "constraints.txt"]
        pip: list[str | Path] = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run([*pip, *found, "--editable", f"{ROOT}[{extras}]"], log="pip-install", timeout=1800)
        STAMP.write_text(key)
    _link_types()
    _compile()
    return PYTHON


def _key(build: str) -> str:
    files = [ROOT / "pyproject.toml", ROOT / "setup.py", wheels.CONSTRAINTS]
    return digest([str(ROOT), sys.version, build, *(path.read_bytes() for path in files)])


def _create() -> None:
    """Make the venv, or keep one that works and has this Python's version."""
    ask = "import sys, pip; sys.exit(sys.version_info[:3] != tuple(map(int, sys.argv[1].split('.'))))"
    version = ".".join(map(str, sys.version_info[:3]))
    if PYTHON.exists() and succeeds([PYTHON, "-c", ask, version]):
        return
    say(f"making .venv with Python {version}")
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        run([sys.executable, "-m", "venv", VENV])
    except StepError as trouble:
        shutil.rmtree(VENV, ignore_errors=True)
        raise StepError(f"no virtual environment could be made: {trouble.what}", "install python3-venv") from None


def _link_types() -> None:
    """The view through which mypy sees the rooms as `gpufair.…`: it can't read an editable install of mapped names."""
    view = VENV / "types" / "gpufair"
    view.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        link = view / room
        target = Path("..", "..", "..", room)
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def _compile() -> None:
    """Bytecode for what is new in the rooms, as pip makes it for the rest of .venv.

    Where PYTHONDONTWRITEBYTECODE is set, every command would compile every module that it loads, each time.
    """
    for room in ROOMS:
        compileall.compile_dir(ROOT / room, quiet=2)


def body(_args: list[str]) -> int:
    ensure()
    say(f"ready: {PYTHON.relative_to(ROOT)}, and the commands gpufair and gpufaird beside it")
    return 0


if __name__ == "__main__":
    main(body)
