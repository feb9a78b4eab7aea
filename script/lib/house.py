"""What every script shares. ONE RULE: a step succeeds, or raises `StepError` with what is wrong and what next.

Standard library only: these files run before anything is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
# A parent script passes its own start on, so that the seconds shown count from the first command.
_START = float(os.environ.get("GPUFAIR_SCRIPT_START") or time.time())


SIGN_OF_LIFE_SECONDS = 15.0


class StepError(Exception):
    """A step that can't go on: `what` is wrong, and `next_step` is the command or change that helps."""

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step


def say(text: str) -> None:
    """Print one progress line, with the seconds since the first script began."""
    print(f"[{time.time() - _START:6.1f} s] {text}", flush=True)


def cache_dir(*parts: str) -> Path:
    """A folder in the user's cache, made if missing. All that the scripts keep outside the checkout lies here."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base, "gpufair", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(parts: Iterable[str | bytes]) -> str:
    """The first 16 hex digits of the SHA-256 over length-prefixed parts: the key of everything kept by content."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def run(
    args: Sequence[str | Path],
    *,
    log: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command and return its output. `StepError` with the last lines and, if `log`, the place of the rest."""
    words = [str(arg) for arg in args]
    full_env = {**os.environ, **(env or {})}
    try:
        child = subprocess.Popen(
            words, env=full_env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise StepError(f"`{words[0]}` is not on this machine", f"install {words[0]} and try again") from None
    with child:
        done = _finished(child, words, timeout)
    output = done.stdout + done.stderr
    where = ""
    if log:
        path = cache_dir("logs") / f"{log}.log"
        path.write_text(f"$ {' '.join(words)}\n{output}")
        where = f"read the whole output in {path}"
    if done.returncode:
        tail = "\n".join("    " + line for line in output.strip().splitlines()[-15:])
        raise StepError(f"`{' '.join(words[:6])} …` ended with {done.returncode}:\n{tail}", where)
    return done


def succeeds(args: Sequence[str | Path], timeout: float = 60) -> bool:
    """Whether a command ends with 0 in time; its output is not wanted."""
    try:
        done = subprocess.run(
            [str(a) for a in args], timeout=timeout, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _finished(
    child: subprocess.Popen[str], words: list[str], timeout: float | None
) -> subprocess.CompletedProcess[str]:
    """Wait for a command's end, with a sign of life now and then. `StepError` when it takes too long."""
    ends = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        try:
            out, err = child.communicate(timeout=min(SIGN_OF_LIFE_SECONDS, max(0.0, ends - time.monotonic())))
            return subprocess.CompletedProcess(words, child.returncode, out, err)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= ends:
                child.kill()
                raise StepError(f"`{' '.join(words[:4])} …` was not done after {timeout:.0f} s") from None
            say("… still at it")
        except BaseException:
            child.kill()
            raise


@contextlib.contextmanager
def fresh_folder(final: Path) -> Iterator[Path]:
    """Yield a folder beside `final` that takes its place only if the block succeeds; else nothing is left behind.

    Two scripts may fill the same folder at once: the first to finish wins, and both go on with its content.
    """
    import shutil

    scratch = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        try:
            scratch.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_root() -> bool:
    return os.geteuid() == 0


def is_debian() -> bool:
    """Whether apt is how this machine gets its packages."""
    with contextlib.suppress(OSError):
        text = Path("/etc/os-release").read_text()
        return "debian" in text or "ubuntu" in text
    return False


def has_nvidia_driver() -> bool:
    """Whether a loaded NVIDIA driver answers (a CUDA build without one is gigabytes for nothing)."""
    return Path("/proc/driver/nvidia/version").exists() or succeeds(["nvidia-smi", "-L"], timeout=20)


def machine() -> str:
    return platform.machine()


def main(body: Callable[[list[str]], int]) -> None:
    """Run a script's body; print a `StepError` as two readable lines, never as a traceback."""
    try:
        sys.exit(body(sys.argv[1:]))
    except StepError as trouble:
        print(f"\nwrong: {trouble.what}", file=sys.stderr)
        if trouble.next_step:
            print(f"next:  {trouble.next_step}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
