"""First thing to run in a worker's process: bounds it, ties it to the daemon's life, and becomes the worker.

Rule: standard library alone, and no work; `launch.py PARENT DATA_BYTES MODULE`. A separate program instead of a
function run between fork and exec, because forking a daemon that has threads (gRPC has) can lock up the child.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
FILE_BYTES = 16 * 1024 * 1024
OPEN_FILES = 1024
ORPHANED = 5


def main() -> None:
    """Set the limits and run `python -m MODULE` in this process."""
    parent, data_bytes, module = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if sys.platform == "linux":
        # A daemon that is killed takes its workers along. If it died before this line, nobody would send the signal.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(ORPHANED)
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 -- pathlib takes longer to import than all else here
            file.write("500")
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    if data_bytes:
        _limit(resource.RLIMIT_DATA, data_bytes)
    # No limit on processes: it would count all of the owner's own. -P: nothing is imported from the working folder.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module])  # noqa: S606 -- argv is fixed by ProcessRuntime


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))


if __name__ == "__main__":
    main()
