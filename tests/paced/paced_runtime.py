"""Null workers at a pace, as processes. ONE RULE: pipes, frames and ends are those of `ProcessRuntime`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gpufair.provider.workers.child import Child
from gpufair.provider.workers.process import ProcessRuntime, ProcessWorker
from gpufair.provider.workers.runtime import WorkerSpec


class PacedRuntime(ProcessRuntime):
    """Starts paced_null.py whatever it is asked for."""

    def __init__(self, node: str, state: Path, pace_ms: int) -> None:
        super().__init__(node, state)
        self.pace_ms = pace_ms

    async def start(self, spec: WorkerSpec, worker: str) -> ProcessWorker:
        """A worker at this pace."""
        command = [sys.executable, str(Path(__file__).with_name("paced_null.py")), str(self.pace_ms)]
        child = Child(command, self._files.scratch(worker), {"PATH": os.defpath})
        self._files.note(worker, child.pid)
        return ProcessWorker(child, worker, self._files)
