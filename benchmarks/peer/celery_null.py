"""The peer Celery: the null task over Redis. ONE RULE: it runs in the peers' own venv and imports nothing of ours.

`python celery_null.py URL JOBS FLIGHT` is the client; the worker is Celery's own, with this file as its app.
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

from celery import Celery  # type: ignore[import-not-found,unused-ignore]

URL = os.environ.get("PEER_REDIS", "")
PNG = base64.b64decode(os.environ.get("PEER_PICTURE", ""))
app: Any = Celery("celery_null", broker=URL, backend=URL)


@app.task(name="null")
def null(prompt: str, seed: int) -> tuple[str, str]:
    """Makes no picture: the grey one, as text for JSON, and a digest of what was asked."""
    return base64.b64encode(PNG).decode(), hashlib.sha256(f"{prompt}{seed}".encode()).hexdigest()


def buy(jobs: int, flight: int) -> float:
    """Seconds for `jobs` tasks, `flight` of them under way; every result is waited for and read."""
    waiting: deque[Any] = deque()
    start = time.perf_counter()
    for seed in range(jobs):
        if len(waiting) == flight:
            waiting.popleft().get(timeout=60)
        waiting.append(null.delay("red apple", seed))
    while waiting:
        waiting.popleft().get(timeout=60)
    return time.perf_counter() - start


def main(jobs: int, flight: int) -> None:
    """Warm up, wait for a line, and measure."""
    buy(jobs // 5, flight)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps({"seconds": buy(jobs, flight), "client_cpu_s": time.process_time()}), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
