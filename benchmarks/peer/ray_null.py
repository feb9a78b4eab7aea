"""The peer Ray: the null task on a local cluster. ONE RULE: it runs in the peers' own venv and imports nothing of ours.

`python ray_null.py JOBS FLIGHT FOLDER`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import time
from collections import deque
from typing import Any

import ray  # type: ignore[import-not-found,unused-ignore]

PNG = base64.b64decode(os.environ.get("PEER_PICTURE", ""))
WORKERS = 4


@ray.remote  # type: ignore[misc,unused-ignore]
def null(prompt: str, seed: int, png: bytes) -> tuple[bytes, str]:
    """Makes no picture: the grey one, and a digest of what was asked."""
    return png, hashlib.sha256(f"{prompt}{seed}".encode()).hexdigest()


def buy(jobs: int, flight: int) -> float:
    """Seconds for `jobs` tasks, `flight` of them under way; every result is waited for and read."""
    waiting: deque[Any] = deque()
    start = time.perf_counter()
    for seed in range(jobs):
        if len(waiting) == flight:
            ray.get(waiting.popleft(), timeout=60)
        waiting.append(null.remote("red apple", seed, PNG))
    while waiting:
        ray.get(waiting.popleft(), timeout=60)
    return time.perf_counter() - start


def main(jobs: int, flight: int, folder: str) -> None:
    """Start the cluster, warm up, wait for a line, and measure."""
    ray.init(
        num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
        _temp_dir=folder, object_store_memory=100 << 20,
    )  # fmt: skip
    buy(jobs // 5, flight)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps({"seconds": buy(jobs, flight), "client_cpu_s": time.process_time()}), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
