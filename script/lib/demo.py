"""The demo itself. ONE RULE: until it is written, it says so and fails.

Called by script/demo with GPUFAIR_RUNTIME=docker|process and, for docker, DOCKER_HOST and GPUFAIR_WORKER_IMAGE.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    names = ("GPUFAIR_RUNTIME", "DOCKER_HOST", "GPUFAIR_WORKER_IMAGE")
    print("the demo is not written yet; it was given", {name: os.environ.get(name) for name in names}, sys.argv[1:])
    sys.exit(1)
